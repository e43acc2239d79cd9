# shellcheck shell=bash
# What every named check shares: a deployment of its own in a temporary folder, and exactly one verdict.
#
# A check calls check_begin, does its work, and ends with pass, fail or skip. Whatever happens, the processes that it
# started are ended by pid, its mounts are undone, its folder is removed and the verdict is printed last.
# KEEP=1 keeps the folder; CHECK_TMP names the disk to work on.

LIB=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPO=$(cd "$LIB/../../.." && pwd)
CHECKS=$REPO/tests/checks
FLOTILLA=${FLOTILLA:-$REPO/bin/flotilla}
export LIB REPO CHECKS FLOTILLA
export PYTHONPATH=$LIB PYTHONDONTWRITEBYTECODE=1
# Tools lie where ci/env.sh says, whatever check_begin makes of XDG_CACHE_HOME.
export FLOTILLA_CACHE=${FLOTILLA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/flotilla}

VERDICT=
STATUS=1
DEV_ARGUMENTS=()
CLEANUP=()

# Begins the check $1: makes WORK and DIR. What the command line remembers goes below WORK, and not to the user's own.
check_begin() {
  CHECK=$1
  WORK=$(mktemp -d "${CHECK_TMP:-${TMPDIR:-/tmp}}/flotilla-$CHECK.XXXXXX")
  DIR=$WORK/dev
  XDG_CACHE_HOME=$WORK/cache
  export CHECK WORK DIR XDG_CACHE_HOME
  trap check_end EXIT
  trap 'exit 1' INT TERM HUP
  [ -x "$FLOTILLA" ] || fail "no binary at $FLOTILLA; run make build"
}

# Adds a command that check_end runs; the last one added runs first.
on_end() {
  CLEANUP=("$1" "${CLEANUP[@]}")
}

check_end() {
  local status=$? command
  trap - EXIT INT TERM HUP
  set +e
  if [ -z "$VERDICT" ]; then
    VERDICT="FAIL $CHECK ended with status $status before its verdict"
  fi
  [ "$STATUS" != 1 ] || show_logs
  dev_down
  for command in "${CLEANUP[@]}"; do eval "$command"; done
  if [ "${KEEP:-}" = 1 ]; then echo "check: kept $WORK" >&2; else rm -rf "$WORK"; fi
  echo "$VERDICT"
  exit "$STATUS"
}

pass() { VERDICT="PASS $CHECK $*" STATUS=0; exit 0; }
fail() { VERDICT="FAIL $CHECK $*" STATUS=1; exit 1; }
skip() { VERDICT="SKIP $CHECK $*" STATUS=77; exit 77; }
note() { echo "$CHECK: $*" >&2; }

# The end of every log, so that a failed run in CI can be understood.
show_logs() {
  local log
  for log in "$DIR"/log/*.log "$WORK"/*.log; do
    [ -s "$log" ] || continue
    echo "--- ${log#"$WORK"/}" >&2
    # Without the lines of single requests, which would bury the one that matters.
    grep -v '"target":"flotilla::access"' "$log" | tail -n 15 >&2
  done
}

# Starts a deployment, or starts the one in DIR again; more arguments go to `dev up`.
dev_up() {
  if [ ${#DEV_ARGUMENTS[@]} = 0 ]; then
    DEV_ARGUMENTS=(--port-base "$(python3 "$LIB/ports.py")" "$@")
  fi
  if ! timeout 180 "$FLOTILLA" dev up --dir "$DIR" --detach "${DEV_ARGUMENTS[@]}" >>"$WORK/up.log" 2>&1 </dev/null; then
    fail "dev up did not get ready"
  fi
  FLOTILLA_DEV_DIR=$DIR
  FLOTILLA_API=$(dev_json '.api[0]')
  FLOTILLA_TOKEN=$(cat "$(dev_json .token_file)")
  export FLOTILLA_DEV_DIR FLOTILLA_API FLOTILLA_TOKEN
}

# Ends the deployment and every process that this check started by hand.
dev_down() {
  [ -e "$DIR/dev.json" ] || return 0
  timeout 60 "$FLOTILLA" dev down --dir "$DIR" >>"$WORK/down.log" 2>&1 </dev/null
  python3 "$LIB/reap.py" "$DIR" "$WORK"
}

# Reads dev.json with jq.
dev_json() {
  jq -er "$1" "$DIR/dev.json"
}

# curl with the root credential, fail on nothing, bounded in time: api [curl arguments] PATH (last).
api() {
  local path=${!#}
  curl -sS --max-time "${API_TIMEOUT_S:-60}" -H "Authorization: Bearer $FLOTILLA_TOKEN" "${@:1:$#-1}" "$FLOTILLA_API$path"
}

# The reference program of BLAKE3.
b3sum_of() {
  "$B3SUM" --no-names "$1"
}

need_b3sum() {
  B3SUM=$("$REPO/ci/tool.sh" b3sum) || fail "b3sum can't be installed"
  export B3SUM
}

# Skips when the work folder has less than $1 MB free.
need_space_mb() {
  local free
  free=$(df --output=avail -m "$WORK" | tail -n 1 | tr -d ' ')
  [ "$free" -ge "$1" ] || skip "needs $1 MB free, has $free"
}

# Runs the Python part of a check: progress on stderr, one line of figures (or the reason) on stdout.
python_part() {
  local line status=0
  line=$(python3 "$CHECKS/$1" "${@:2}" </dev/null) || status=$?
  line=${line##*$'\n'}
  [ "$status" = 0 ] || fail "${line:-status $status}"
  pass "$line"
}
