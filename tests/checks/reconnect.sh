#!/usr/bin/env bash
# A supernode ends and comes back: all of its clients come back to it, and hear nothing worse than that it is not ready.
#
# check: 500 clients lose their supernode at one moment: each is served again, retries are spread, nothing acked is lost
# ci: no
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin reconnect
dev_up --clusters 1
python_part reconnect.py "${CLIENTS:-500}"
