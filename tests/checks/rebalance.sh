#!/usr/bin/env bash
# A new node gets its share of what is stored.
#
# check: a node that joins a filled cluster holds most of its share, counted on disk; every chunk keeps two copies
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin rebalance
need_space_mb 4000
dev_up --clusters 1 --set purge_interval=1s --set version_linger=1s --set chunk_size=4MiB --set repair_rate=256MiB
python_part rebalance.py
