#!/usr/bin/env bash
# A load test tells what users feel while a store stands still, and makes faults by itself.
#
# check: all servers frozen for 4 s of 20: p99 of an open loop is 3 s at least, of a closed one (control) below 1 s; lost 0
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin standstill
dev_up --clusters 1
cat >"$WORK/steady.toml" <<'TOML'
description = "Twenty seconds of small reads and writes."
connections = 256
prefill = 50
timeout = "15s"
[mix]
put = 30
get = 70
[sizes]
"10KB" = 1
[[phase]]
name = "steady"
for = "20s"
rate = 50
TOML

# Runs the load, with arguments, and leaves its report as $1.json.
load() {
  local name=$1
  shift
  "$FLOTILLA" loadtest run "$WORK/steady.toml" --at 8s "freeze all for 4s" --json "$WORK/$name.json" "$@" \
    >"$WORK/$name.log" 2>&1 || fail "$name load ended with $?"
}

# Reads one figure of a report.
figure() { jq -er "$2" "$WORK/$1.json"; }

load open
load closed --closed --connections 4
for name in open closed; do
  [ "$(figure $name '.lost + .corrupt + .total.failed')" = 0 ] || fail "$name load lost, spoiled or failed something"
  # Both know that nothing succeeded for four seconds; only the open loop knows who would have waited.
  figure $name '.longest_gap.seconds >= 3.5' >/dev/null || fail "$name load saw no gap: $(figure $name .longest_gap)"
  figure $name '[.faults[] | .recovered_s // 0] | max >= 3.5' >/dev/null || fail "$name load blames no fault"
done
open=$(figure open '.total.latency_ms.p99 | floor')
closed=$(figure closed '.total.latency_ms.p99 | floor')
[ "$open" -ge 3000 ] || fail "p99 of the open loop is $open ms"
[ "$closed" -lt 1000 ] || fail "p99 of the closed loop is $closed ms: the control shows nothing"
pass "open_p99_ms=$open closed_p99_ms=$closed requests=$(figure open .total.ok)"
