#!/usr/bin/env bash
# A node never serves from a disk that is not its own.
#
# check: wiped, foreign, old and shared data folders are refused with exit 78 and a line that says what to do; nothing is harmed
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin wrong-disk
dev_up --clusters 1 --set chunk_size=1MiB --set purge_interval=1s
python_part wrong_disk.py
