#!/usr/bin/env bash
# A download is one version, whole, or it is cut: also while the file is replaced and deleted and purge runs as fast as it can.
#
# check: overwrite and delete under slow downloads with the shortest purge: whole or aborted, never mixed; disks are clean after
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin purge-race
dev_up --clusters 1 --set chunk_size=256KiB --set cache_bytes=1MiB \
  --set version_linger=500ms --set claim_idle=1s --set purge_interval=200ms
python_part purge_race.py "${SECONDS_OF_WRITES:-8}"
