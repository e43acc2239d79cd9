#!/usr/bin/env bash
# fsck says nothing about a sound cluster, and names every copy that is missing, extra, short or flipped.
#
# check: planted missing, extra, short and flipped copies are each named, exit 8; clean before, exit 0
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin fsck
dev_up --clusters 1 --set chunk_size=4MiB --set version_linger=1s --set purge_interval=1s
python_part fsck.py
