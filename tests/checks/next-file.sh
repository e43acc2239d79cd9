#!/usr/bin/env bash
# Which cluster gets the next new file: the least loaded one, and not all of those that come at once.
#
# check: no new file goes to a busy cluster while others are idle; of 100 uploads at once no cluster gets half
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin next-file
dev_up --clusters 3 --nodes 3
python_part next_file.py
