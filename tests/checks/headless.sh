#!/usr/bin/env bash
# No supernode is left: the command line goes to the clusters' own addresses by itself.
#
# check: without supernodes known files are read, streamed, replaced and removed, although nodes hang; unknown ones are not called absent
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin headless
dev_up --supernodes 3 --clusters 2 --nodes 3
python_part headless.py
