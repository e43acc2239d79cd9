#!/usr/bin/env bash
# A load can be shared by several runners, recorded and replayed, and made to find the highest rate that is borne.
#
# check: two runners with a killed leader, a replay of recorded requests, a search for the knee, a page while it runs: lost 0
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin shapes
dev_up --clusters 1
cat >"$WORK/mixed.toml" <<'TOML'
description = "Eight seconds of everything."
connections = 64
prefill = 60
timeout = "15s"
[mix]
put = 25
replace = 5
copy = 5
get = 50
range = 5
head = 5
list = 2
delete = 3
[sizes]
"1KB-50KB" = 1
[[phase]]
name = "mixed"
for = "8s"
rate = 60
TOML
cat >"$WORK/replay.toml" <<'TOML'
connections = 64
timeout = "15s"
[trace]
file = "requests.csv"
TOML
cat >"$WORK/knee.toml" <<'TOML'
connections = 64
prefill = 20
[mix]
get = 1
[sizes]
"1KB" = 1
[knee]
from = 20
to = 160
for = "1s"
p99_ms = 2000
TOML

# Runs the profile $1, with arguments, and leaves its report as $1.json.
load() {
  local name=$1
  shift
  "$FLOTILLA" loadtest run "$WORK/$name.toml" --json "$WORK/$name.json" "$@" >"$WORK/$name.log" 2>&1 ||
    fail "$name ended with $?: $(grep -v ' ok ' "$WORK/$name.log" | tail -n 5 | tr '\n' ' ')"
  figure "$name" '.lost + .corrupt + .unreadable + .left_files == 0' >/dev/null || fail "$name lost, spoiled or left something"
}
# Reads one figure of a report.
figure() { jq -er "$2" "$WORK/$1.json"; }

# Two processes, each with a half; the leader of the cluster dies meanwhile.
runner="'$FLOTILLA' loadtest worker"
load mixed --worker "$runner" --worker "$runner" --at 3s "kill leader of a" --hlog "$WORK/mixed.hlog" --junit "$WORK/mixed.xml"
figure mixed '(.workers | length) == 2 and ([.workers[].requests] | min) > 120 and .total.failed == 0' >/dev/null ||
  fail "the shares are uneven, or something failed: $(figure mixed '[.workers, .errors] | tostring')"
figure mixed '[.workers[].clock_ahead_ms | fabs] | max < 50' >/dev/null || fail "one machine has two times"
grep -q 'tests="6".*failures="0"' "$WORK/mixed.xml" || fail "JUnit says $(head -c 300 "$WORK/mixed.xml")"
[ "$(grep -c HISTFAAA "$WORK/mixed.hlog")" -ge 8 ] || fail "the log lacks seconds"
shared=$(figure mixed .total.ok)
dev_down
dev_up

# What was sent is sent again, at the same times and with the same lengths.
load mixed --requests "$WORK/requests.csv"
# A copy has two files, of which a line names one.
lines=$(awk -F , 'NR > 1 && $2 != "copy"' "$WORK/requests.csv" | wc -l)
load replay
replayed=$(figure replay '.total.ok + .skipped')
[ "$replayed" = "$lines" ] || fail "$lines requests were recorded, $replayed replayed"
figure replay '.total.failed == 0 and .skipped * 20 < .total.ok' >/dev/null || fail "the replay failed or skipped much"

# A store that bears every rate that is asked for; the page is there meanwhile.
load knee --page 127.0.0.1:0 &
knee=$!
for _ in $(seq 200); do
  page=$(grep -oE 'http://127.0.0.1:[0-9]+/' "$WORK/knee.log" 2>/dev/null | head -n 1) && break
  sleep 0.05
done
sleep 2
curl -sS "${page:?no page}" | grep -q '"running":true' || fail "the page does not show a run that goes on"
wait $knee || fail "the search failed"
figure knee '.knee.highest_borne == 160 and .knee.lowest_too_high == null' >/dev/null || fail "found $(figure knee .knee)"
pass "shared=$shared replayed=$replayed skipped=$(figure replay .skipped) trials=$(figure knee '.knee.trials | length')"
