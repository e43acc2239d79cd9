#!/usr/bin/env bash
# Acked means two synced copies on two nodes, counted on disk.
#
# check: files land in both clusters and every chunk lies on two nodes, byte for byte
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin two-copies
dev_up --set chunk_size=1MiB
python_part two_copies.py
