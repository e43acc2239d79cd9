#!/usr/bin/env bash
# No single process is needed to keep what was acked.
#
# check: every process is killed in turn under load: nothing acked is lost, a new leader stands within 2.5 s (ONLY=)
# ci: no
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin kill-each
dev_up
python_part kill_each.py
