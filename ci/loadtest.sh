#!/usr/bin/env bash
# Runs load profiles against a fresh demo deployment of the release binary: `ci/loadtest.sh PROFILE...`; reports go to reports/.
#
# SERVER_CPUS (1) holds all servers together to so many processors, so that the runner has the others for itself; 0 leaves them
# free. That needs root and control groups, of either version. DIR is the deployment's folder, ARGS are for the runner.
set -euo pipefail
# shellcheck source=env.sh
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$ROOT"

flotilla=${FLOTILLA:-bin/flotilla}
cpus=${SERVER_CPUS:-1}
dir=${DIR:-$(mktemp -d "${TMPDIR:-/tmp}/flotilla-loadtest.XXXXXX")}
group=
# shellcheck disable=SC2317 # called by the trap
end() {
  "$flotilla" dev down --dir "$dir" >/dev/null 2>&1 || true
  [ -n "$group" ] && rmdir "$group" 2>/dev/null
  [ -n "${DIR:-}" ] || rm -rf "$dir"
}
trap end EXIT

# Makes a group of the servers with the time of $cpus processors.
hold() {
  local root=/sys/fs/cgroup pid
  if [ -w $root/cpu/cgroup.procs ]; then
    group=$root/cpu/flotilla-loadtest-$$
    mkdir "$group"
    echo 100000 >"$group/cpu.cfs_period_us"
    echo $((cpus * 100000)) >"$group/cpu.cfs_quota_us"
  elif [ -w $root/cgroup.subtree_control ] && grep -qw cpu $root/cgroup.controllers; then
    echo +cpu >$root/cgroup.subtree_control
    group=$root/flotilla-loadtest-$$
    mkdir "$group"
    echo "$((cpus * 100000)) 100000" >"$group/cpu.max"
  else
    echo "loadtest: no control group can be made here, the servers are not held back" >&2
    return
  fi
  for pid in $(jq -r '.processes[].pid' "$dir/dev.json"); do echo "$pid" >"$group/cgroup.procs"; done
  echo "loadtest: all servers together have $cpus of $(nproc) processors" >&2
}

"$flotilla" dev up --detach --dir "$dir" --port-base "$(python3 tests/checks/lib/ports.py)" >/dev/null
[ "$cpus" = 0 ] || hold
status=0
for profile in "$@"; do
  # shellcheck disable=SC2086 # several arguments
  "$flotilla" loadtest run "$profile" --dir "$dir" --reports reports ${ARGS:-} || status=$?
done
exit $status
