#!/usr/bin/env bash
# Losing a node with many chunks: they are all made anew while clients hardly notice.
#
# check: R15: 20,000 chunks (CHUNKS=) lose a node under load: all have two copies on disk again, p99 of clients at most doubles
# ci: no
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin repair-herd
need_space_mb 4000
dev_up --clusters 1 --set down_grace=5s --set purge_interval=5s
python_part repair_herd.py "${CHUNKS:-20000}"
