#!/usr/bin/env bash
# R15: a node with many chunks is lost for ever; wraps the named check repair-herd, which counts copies on disks. At its full size
# also reconnect: many clients lose their supernode at one moment.
set -euo pipefail
# Fewer chunks leave too few samples for a p99 to mean much, on a machine that may compile meanwhile; the full size is strict.
chunks=2000
checks=(repair-herd)
export SLOWER_MAX=5
[ "$1" = short ] || { chunks=20000 checks+=(reconnect) SLOWER_MAX=2; }
status=0
lines=()
for check in "${checks[@]}"; do
  lines+=("$(CHECK_TMP=$WORK CHUNKS=$chunks "$REPO/tests/checks/$check.sh" | tail -n 1)") || status=$?
done
python3 "$REPO/tests/chaos/lib/wrapped.py" "$status" "${lines[@]}"
echo "${lines[*]#* * }"
exit "$status"
