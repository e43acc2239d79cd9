#!/usr/bin/env bash
# R26: queues' owners and thieves are killed while requests are stolen; wraps the named check queue-kills.
set -euo pipefail
export REQUESTS=300 SEED=$2
rounds=6
[ "$1" = short ] || { rounds=200 REQUESTS=500; }
export ROUNDS=${ROUNDS:-$rounds}
status=0
line=$(CHECK_TMP=$WORK "$REPO/tests/checks/queue-kills.sh" | tail -n 1) || status=$?
python3 "$REPO/tests/chaos/lib/wrapped.py" "$status" "$line"
echo "${line#* * }"
exit "$status"
