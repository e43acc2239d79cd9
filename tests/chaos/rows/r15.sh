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
python3 - "$status" "${lines[@]}" <<'PY'
import json, os, re, sys
status, lines = sys.argv[1], sys.argv[2:]
figures = dict(re.findall(r"(\w+)=([\d.]+)", " ".join(lines)))
figures = {name: float(value) if "." in value else int(value) for name, value in figures.items()}
figures = {"faults": len(lines), "ops": figures.get("chunks", 0)} | figures
verdict = {"figures": figures, "problems": [line for line in lines if line.startswith("FAIL")]}
if status not in ("0", "77") and not verdict["problems"]:
    verdict["problems"] = lines
with open(os.environ["WORK"] + "/verdict.json", "w", encoding="utf-8") as file:
    json.dump(verdict, file)
PY
echo "${lines[*]#* * }"
exit "$status"
