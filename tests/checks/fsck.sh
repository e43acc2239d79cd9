#!/usr/bin/env bash
# fsck says nothing about a sound cluster, and names every copy that is missing, extra, short or flipped; then the cluster
# mends them.
#
# check: planted missing, extra, short and flipped copies are each named, exit 8; clean before and once mended, exit 0
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin fsck
# What is planted stays until it was asked for.
FAILPOINTS="repair.plan=return;repair.drop_own=return" dev_up --clusters 1 --set chunk_size=4MiB --set version_linger=1s --set purge_interval=1s
python_part fsck.py
