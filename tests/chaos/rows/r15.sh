#!/usr/bin/env bash
# R15: a node with many chunks is lost for ever; wraps the named check repair-herd, which counts copies on disks.
set -euo pipefail
# Fewer chunks leave too few samples for a p99 to mean much, on a machine that may compile meanwhile; the full size is strict.
chunks=2000
export SLOWER_MAX=5
[ "$1" = short ] || { chunks=20000; SLOWER_MAX=2; }
status=0
line=$(CHECK_TMP=$WORK CHUNKS=$chunks "$REPO/tests/checks/repair-herd.sh" | tail -n 1) || status=$?
python3 - "$line" "$status" <<'PY'
import json, os, re, sys
line, status = sys.argv[1], sys.argv[2]
figures = dict(re.findall(r"(\w+)=([\d.]+)", line))
figures = {name: float(value) if "." in value else int(value) for name, value in figures.items()}
figures = {"faults": 1, "ops": figures.get("chunks", 0)} | figures
verdict = {"figures": figures, "problems": [line] if status not in ("0", "77") else []}
with open(os.environ["WORK"] + "/verdict.json", "w", encoding="utf-8") as file:
    json.dump(verdict, file)
PY
echo "${line#* repair-herd }"
exit "$status"
