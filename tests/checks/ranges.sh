#!/usr/bin/env bash
# Any range of any file is the bytes that were asked for, and says which they are.
#
# check: 2,000 random ranges (single, suffix, open, several, outside) of files of many sizes, with and without If-Range: 0 wrong
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin ranges
dev_up --clusters 1 --set chunk_size=256KiB --set cache_bytes=1MiB
python_part ranges.py
