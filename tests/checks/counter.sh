#!/usr/bin/env bash
# A counter that is read, raised and written back under If-Match loses no increment, whatever dies.
#
# check: 16 clients raise a counter under If-Match while leaders are killed and restarted: no lost update (KILLS=)
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin counter
dev_up --clusters 1
python_part counter.py "${KILLS:-$([ "${CI:-}" ] && echo 1 || echo 6)}"
