#!/usr/bin/env bash
# Ten times what a fleet can do: it refuses honestly, loses nothing, and is itself again soon; idle clusters help the one that is short.
#
# SIZE=full takes some twenty minutes, and more with SOAK_S=; PHASES="herd spike slow clogged soak" picks some; RATE= and STEAL_RATE= are capacities in
# uploads per second, instead of a search for them. KEEP=1 keeps the reports of all loads, in loads/.
#
# check: three clusters of a quarter of a processor each, ten times their capacity: only 429 and 503 with Retry-After, goodput back, nothing lost
# ci: no
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin overload
# Thousands of connections, in the runner and in the supernode, which takes a quarter as many as it may open files.
ulimit -n "$(ulimit -Hn)"
python3 "$LIB/cpu.py" sweep
on_end "python3 '$LIB/cpu.py' sweep"
dev_up --clusters 3 --nodes 1 --set replicas=1
python_part overload.py "${SIZE:-short}"
