#!/usr/bin/env bash
# An upload that nobody knows the end of leaves nothing on the disks, without any node starting anew.
#
# check: appends and commits whose answers get lost: every retry ends as one upload, no copy too many is left, deleted files leave 0
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin given-up
# Every gateway loses the answer of its first append, of its first commit, and of its fifth.
FAILPOINTS="gateway.after_segment=1*return->off;gateway.after_commit=1*return->3*off->1*return->off" \
  dev_up --clusters 1 --set chunk_size=64KiB --set version_linger=1s --set purge_interval=1s
python_part given_up.py
