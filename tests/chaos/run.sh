#!/usr/bin/env bash
# Runs rows of chaos: `run.sh list`, `row ROW [short|full] [SEED]`, `control NAME`, `short`, `long`, `unit`, `table`.
#
# A row is rows/NAME.py, or rows/NAME.sh where it wraps a named check. It runs in a folder of its own; whatever happens, its
# processes, namespaces and mounts are undone, one line `PASS|FAIL|SKIP ROW figures` is printed and a line of JSON is
# appended to RESULTS. KEEP=1 keeps the folder, CHAOS_TMP names the disk to work on.
set -euo pipefail
chaos=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPO=$(cd "$chaos/../.." && pwd)
FLOTILLA=${FLOTILLA:-$REPO/bin/flotilla}
RESULTS=${RESULTS:-$REPO/reports/chaos.jsonl}
export REPO FLOTILLA RESULTS
export PYTHONPATH=$chaos/lib:$REPO/tests/checks/lib PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# Tools lie where ci/env.sh says, whatever a row makes of XDG_CACHE_HOME.
export FLOTILLA_CACHE=${FLOTILLA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/flotilla}
PATH=$PATH:/usr/sbin:/sbin
# Namespaces begin with it; their names go on with the pid of the run that made them.
prefix=fch
# shellcheck source=lib/plan.sh
. "$chaos/lib/plan.sh"

missing() {
  [ "$(id -u)" = 0 ] || { echo "needs root for network namespaces"; return; }
  local tool
  for tool in ip nft nsenter python3 strace; do
    command -v "$tool" >/dev/null || { echo "$tool is missing"; return; }
  done
  [ -x "$FLOTILLA" ] || echo "no binary at $FLOTILLA; run make build"
}

# Runs one row in this shell, which ends with it.
row() {
  local name=$1 size=$2 seed=$3 script status=0 why
  script=$(script_of "$name")
  export ROW=$name SIZE=$size SEED=$seed CHAOS_PREFIX=$prefix$BASHPID
  WORK=$(mktemp -d "${CHAOS_TMP:-${TMPDIR:-/tmp}}/flotilla-chaos-$name.XXXXXX")
  DIR=$WORK/dev
  mkdir "$DIR"
  # What the command line remembers goes away with the folder.
  XDG_CACHE_HOME=$WORK/cache
  export WORK DIR XDG_CACHE_HOME
  # shellcheck disable=SC2064 # these values, whatever happens to the variables
  trap "python3 '$chaos/lib/undo.py' '$WORK' || true; [ '${KEEP:-}' = 1 ] || rm -rf '$WORK'" EXIT
  trap 'exit 130' INT TERM HUP
  why=$(missing)
  # A copy of its own: a build meanwhile must not change what is tested.
  [ -n "$why" ] || { cp --reflink=auto "$FLOTILLA" "$WORK/flotilla" && FLOTILLA=$WORK/flotilla; }
  if [ -n "$why" ]; then
    echo "$why" >"$WORK/out"
    status=77
  else
    python3 "$chaos/lib/undo.py" sweep "$prefix" "${CHAOS_TMP:-${TMPDIR:-/tmp}}"
    python3 "$chaos/lib/undo.py" own "$WORK" "$BASHPID"
    # In the background, so that a signal ends the wait and the clean-up runs.
    case $script in
      *.sh) timeout --kill-after=30 "$(limit_of "$name" "$size")" "$script" "$size" "$seed" </dev/null >"$WORK/out" & ;;
      *) timeout --kill-after=30 "$(limit_of "$name" "$size")" python3 "$script" "$size" "$seed" </dev/null >"$WORK/out" & ;;
    esac
    wait $! || status=$?
  fi
  if [ "$status" != 0 ] && [ "$status" != 77 ]; then show_logs; fi
  python3 "$chaos/lib/record.py" "$name" "$size" "$seed" "$status" "$WORK"
}

# The ends of all logs, so that a failed run in CI can be understood.
show_logs() {
  local log
  for log in "$WORK"/*/log/*.log "$WORK"/*.log; do
    [ -s "$log" ] || continue
    echo "--- ${log#"$WORK"/}" >&2
    grep -v '"target":"flotilla::access"' "$log" | tail -n 8 | cut -c 1-400 >&2
  done
}

# Runs several, each in a shell of its own; the first failure is remembered, and the others run nevertheless. In CI a row that
# can't run has failed: otherwise one that lost its tools or its failpoint would never be missed.
several() {
  local failed=0 one status begun
  for one in "$@"; do
    begun=$SECONDS status=0
    # shellcheck disable=SC2086 # a row and its size
    ("${BASH_SOURCE[0]}" row ${one/:/ }) || status=$?
    echo "  ${one%%:*} took $((SECONDS - begun)) s" >&2
    [ "$status" = 0 ] || { [ "$status" = 77 ] && [ "${CI:-}" != true ]; } || failed=1
  done
  return $failed
}

case ${1:-} in
  list) list ;;
  unit) cd "$chaos/unit" && exec timeout 120 python3 -m unittest ;;
  row) known "${2:-}" && row "$2" "${3:-full}" "${4:-1}" ;;
  short)
    "${BASH_SOURCE[0]}" unit
    mapfile -t all < <(short_ones)
    several "${all[@]}"
    ;;
  long) python3 "$chaos/lib/long.py" "${BASH_SOURCE[0]}" ;;
  table) python3 "$chaos/lib/table.py" ;;
  *)
    echo "usage: tests/chaos/run.sh list|unit|short|long|table|row ROW [short|full] [SEED]" >&2
    exit 2
    ;;
esac
