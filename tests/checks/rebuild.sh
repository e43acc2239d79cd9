#!/usr/bin/env bash
# The supernodes' disks are lost: the directory is made anew from the clusters, and nothing that it had granted makes a second home.
#
# check: wipe the directory of three clusters, rebuild, verify clean, dump as before, all keys read, writes go on, late commits refused
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin rebuild
# The uploads that come late rest for longer than clients may.
dev_up --clusters 3 --nodes 1 --set stall_timeout=10min
python_part rebuild.py "${KEYS:-3000}"
