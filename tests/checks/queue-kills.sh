#!/usr/bin/env bash
# Three supernodes with queues, and clusters that take from each other's: killing either in the middle loses nothing and makes nothing twice.
#
# ROUNDS= and REQUESTS= say how often and under how many uploads at once, SEED= which faults; KEEP=1 keeps logs and data.
#
# check: queues' owners and thieves are killed mid-steal: each upload is acked, once; nobody waits much longer than others, small ones not behind large
# ci: no
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin queue-kills
ulimit -n "$(ulimit -Hn)"
python3 "$LIB/cpu.py" sweep
on_end "python3 '$LIB/cpu.py' sweep"
# A cluster of one node keeps what is larger than a commit takes only if one copy is enough.
dev_up --supernodes 3 --clusters 3 --nodes 1 --set replicas=1
python_part queue_kills.py "${ROUNDS:-6}" "${REQUESTS:-300}"
