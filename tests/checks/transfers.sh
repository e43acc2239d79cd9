#!/usr/bin/env bash
# What is told of transfers is what happened.
#
# check: API, command line, metrics, disks and logs agree on copies, bytes and failures of each link, dead and hung ones among them
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin transfers
# The first two copies of every node fail when they are whole; the others take a moment, so that one can be met under way.
# Five nodes still have a quorum when one is dead and another one hangs, and that one is not taken for dead. No copy is
# dropped meanwhile that nothing names.
FAILPOINTS="repair.pulled=2*return->sleep(150)" \
  dev_up --clusters 1 --nodes 5 --set down_grace=8s --set purge_interval=10m --set chunk_size=1MiB
python_part transfers.py
