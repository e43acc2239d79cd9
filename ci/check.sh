#!/usr/bin/env bash
# Lists and runs the named checks: `ci/check.sh list`, `run NAME`, `ci`.
#
# A check is a script tests/checks/NAME.sh, or a line of tests/checks/cargo.txt that names tests of the workspace.
# A run ends with one line `PASS|FAIL|SKIP NAME figures`; the exit code is 0, 1 or 77.
set -euo pipefail
# shellcheck source=env.sh
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$ROOT"

# No check may run longer than this, whatever it waits for; the slowest one takes minutes on two cores.
limit_s=${CHECK_LIMIT_S:-1500}

# The value of a header line `# KEY: value` of a script.
header() {
  sed -n "s/^# $2: //p" "$1" | head -n 1
}

names() {
  for script in tests/checks/*.sh; do basename "$script" .sh; done
  awk -F ' *[|] *' '!/^#/ && NF == 3 { print $1 }' tests/checks/cargo.txt
}

list() {
  for script in tests/checks/*.sh; do
    printf '%-18s %-3s %s\n' "$(basename "$script" .sh)" "$([ "$(header "$script" ci)" = yes ] && echo ci)" \
      "$(header "$script" check)"
  done
  awk -F ' *[|] *' '!/^#/ && NF == 3 { printf "%-18s %-3s %s\n", $1, "ci", $3 }' tests/checks/cargo.txt
}

run_script() {
  ci/setup.sh checks
  if [ ! -x bin/flotilla ]; then
    make --no-print-directory build >&2
  fi
  local log status=0
  log=$(mktemp)
  timeout --kill-after=30 "$limit_s" "tests/checks/$1.sh" </dev/null 2>&1 | tee "$log" || status=$?
  # The script's own verdict stands last; without one it died on the way.
  if ! tail -n 1 "$log" | grep -qE "^(PASS|FAIL|SKIP) $1( |$)"; then
    echo "FAIL $1 ended with status $status and no verdict"
    status=1
  fi
  rm -f "$log"
  return "$status"
}

run_cargo() {
  local filter started
  filter=$(awk -F ' *[|] *' -v name="$1" '$1 == name { print $2 }' tests/checks/cargo.txt)
  started=$SECONDS
  if timeout --kill-after=30 "$limit_s" ci/cargo.sh nextest run --workspace --features flotilla/failpoints \
    --no-tests=fail -E "$filter" </dev/null; then
    echo "PASS $1 seconds=$((SECONDS - started))"
  else
    echo "FAIL $1 seconds=$((SECONDS - started))"
    return 1
  fi
}

run() {
  if [ -z "$1" ] || ! grep -qxF -- "$1" <<<"$(names)"; then
    echo "check: no check is called '$1'; NAME= is one of:" >&2
    names | sed 's/^/  /' >&2
    exit 2
  fi
  if [ -f "tests/checks/$1.sh" ]; then run_script "$1"; else run_cargo "$1"; fi
}

case ${1:-} in
  list) list ;;
  run) run "${2:-}" ;;
  ci)
    for script in tests/checks/*.sh; do
      [ "$(header "$script" ci)" = yes ] || continue
      status=0
      run "$(basename "$script" .sh)" || status=$?
      # A skipped check says why; only a failed one stops CI.
      [ "$status" = 0 ] || [ "$status" = 77 ] || exit "$status"
    done
    ;;
  *)
    echo "usage: ci/check.sh list|run NAME|ci" >&2
    exit 2
    ;;
esac
