#!/usr/bin/env bash
# A node can be taken out of use without anybody noticing.
#
# check: drain ends with a counted fact; stopped nodes end what they have begun, hand over and exit with 0; nothing acked is lost
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin drain
# Long requests end within this time, and those that are too long don't keep the check.
dev_up --clusters 1 --set purge_interval=1s --set version_linger=1s --set chunk_size=1MiB --set drain_timeout=10s
python_part drain.py
