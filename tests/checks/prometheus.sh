#!/usr/bin/env bash
# Prometheus finds in /metrics what alerts and dashboards ask for, and alerts fire when something is wrong.
#
# check: Prometheus scrapes a fleet: what processes show is what is documented, no alert fires on a healthy one, and faults raise theirs; promtool raises all
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin prometheus
PROMETHEUS=$("$REPO/ci/tool.sh" prometheus) || fail "prometheus can't be installed"
PROMTOOL=$("$REPO/ci/tool.sh" promtool) || fail "promtool can't be installed"
export PROMETHEUS PROMTOOL
# What is documented is read by the same code as in the check of the rules.
export PYTHONPATH=$PYTHONPATH:$REPO/ci
dev_up --set down_grace=4s --set purge_interval=1s --set chunk_size=2MiB
python_part prometheus.py
