#!/usr/bin/env bash
# A node can be taken out of use without anybody noticing.
#
# check: drain under load ends with a counted fact; a stopped leader hands over and exits with 0; nothing acked is lost
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin drain
dev_up --clusters 1 --set purge_interval=1s --set version_linger=1s --set chunk_size=1MiB
python_part drain.py
