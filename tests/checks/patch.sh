#!/usr/bin/env bash
# A part of a file is changed in place of the whole: the content and its hash are exact, and the other chunks stay where they are.
#
# check: random changes and appends of files from 0 bytes to 300 chunks: content, b3sum and shared chunks are right (CHANGES=)
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin patch
need_b3sum
dev_up --clusters 1 --set chunk_size=64KiB
python_part patch.py "${CHANGES:-$([ "${CI:-}" ] && echo 60 || echo 400)}"
