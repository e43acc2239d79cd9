#!/usr/bin/env bash
# R31: ten times what the fleet can do, and at its full size an hour of what it can; wraps the named check overload.
set -euo pipefail
export SIZE=$1
[ "$1" = short ] || export SOAK_S=${SOAK_S:-3600}
status=0
line=$(CHECK_TMP=$WORK "$REPO/tests/checks/overload.sh" | tail -n 1) || status=$?
python3 "$REPO/tests/chaos/lib/wrapped.py" "$status" "$line"
echo "${line#* * }"
exit "$status"
