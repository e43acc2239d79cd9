# shellcheck shell=bash
# Run.sh, which sources it, sets chaos to the folder of this harness.
# Which rows there are, what they are for, and how long each may take.

# NAME | limit of seconds short (0: not among the short ones) | limit full | what it does. A name with control- must fail its row's check; it passes when that fails.
plan() {
  cat <<'ROWS'
R4 | 400 | 14400 | servers crash, stall and fail at failpoints
R5 | 240 | 9000 | linearizable per key under kills, pauses and partitions
R1 | 300 | 7200 | the power fails, for all or for the leader alone
R2 | 240 | 3600 | kills at random moments, nothing acked is lost
R6 | 400 | 5400 | nodes join, leave and are lost, leaders too
R7 | 300 | 3600 | deletes and overwrites while a node is down
R8 | 0 | 1800 | a damaged copy that looks sound is never copied by repair
R10 | 240 | 1800 | wrong disks are refused with exit code 78
R13 | 180 | 1800 | how long nobody can write or read when the leader dies
R14 | 240 | 1800 | ready if, and only if, a server serves
R15 | 400 | 2400 | a node with many chunks is lost for ever
R26 | 240 | 7200 | queues' owners and thieves are killed while requests are stolen
R29 | 400 | 7200 | a follower that needs a snapshot, killed while it installs it
R31 | 600 | 14400 | ten times what the fleet can do, and an hour of what it can
control-no-syncs | 180 | 180 | R1 must find syncs that do nothing
control-no-dir-sync | 180 | 180 | R1 must find syncs of folders that do nothing
control-no-read-index | 300 | 300 | R5 must find a leader that answers reads without a read index
control-no-recheck | 300 | 300 | R7 must find a purge that does not look again
control-trust-holders | 180 | 180 | a repair that copies a damaged copy must be found
control-fresh-ids | 0 | 240 | R26 must find uploads that are made twice
control-open | 0 | 400 | R31 must find a front door that lets everything through at once
control-no-stealing | 0 | 300 | R31 must find a fleet where idle clusters take nothing
ROWS
}

field() { plan | awk -F ' *[|] *' -v name="$1" -v at="$2" '$1 == name { print $at }'; }

known() {
  [ -n "$(field "$1" 1)" ] && return
  echo "chaos: no row is called '$1'; ROW= is one of:" >&2
  plan | awk -F ' *[|] *' '{ print "  " $1 }' >&2
  exit 2
}

limit_of() {
  local at=3
  local limit
  [ "$2" = full ] || at=2
  limit=$(field "$1" "$at")
  [ "$limit" != 0 ] || limit=$(field "$1" 3)
  echo "$limit"
}

script_of() {
  local name
  name=$(tr '[:upper:]-' '[:lower:]_' <<<"$1")
  case $name in control_*) name=control ;; esac
  if [ -f "${chaos:?}/rows/$name.sh" ]; then echo "$chaos/rows/$name.sh"; else echo "$chaos/rows/$name.py"; fi
}

list() { plan | awk -F ' *[|] *' '{ printf "%-22s %s\n", $1, $4 }'; }

# A row whose control runs it anyhow needs no place of its own among the short ones.
short_ones() { plan | awk -F ' *[|] *' '$2 > 0 { print $1 ":short" }'; }
