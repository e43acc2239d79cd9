#!/usr/bin/env bash
# Lost copies are made anew without a hand, and those that are too many go again.
#
# check: a node dies, comes back, loses a file, has damaged ones: two good copies of all chunks again, counted on disk, under load
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin repair
dev_up --clusters 1 --set down_grace=3s --set purge_interval=1s --set chunk_size=2MiB
python_part repair.py
