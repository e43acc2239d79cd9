#!/usr/bin/env bash
# Nodes come and go under load, and the voters with them.
#
# check: two nodes join, vote and fill; one is drained and removed, one is lost and replaced, one is removed while it sleeps; nothing is lost
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin join
dev_up --clusters 1 --set purge_interval=1s --set version_linger=1s --set chunk_size=1MiB --set down_grace=3s \
  --set voter_grace=3s
python_part join.py
