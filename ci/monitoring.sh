#!/usr/bin/env bash
# Checks alerts, dashboards and runbooks against what the servers export: `ci/monitoring.sh [write] [check]`.
#
# `write` writes what is made from other files: the operator's resource, the dashboards.
set -euo pipefail
# shellcheck source=env.sh
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$ROOT"

export PYTHONDONTWRITEBYTECODE=1
ci/setup.sh lint
python=$(ci/tool.sh yaml-python)
for what in "${@:-check}"; do
  case $what in
    write) "$python" ci/monitoring.py write ;;
    check) "$python" ci/monitoring.py check "$(ci/tool.sh promtool)" ;;
    *)
      echo "usage: ci/monitoring.sh [write] [check]" >&2
      exit 2
      ;;
  esac
done
