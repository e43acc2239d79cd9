#!/usr/bin/env bash
# Three supernodes: any of them serves everything, and losing one, its group's leader too, costs clients nothing but a moment.
#
# check: each of three supernodes is killed under load, then all of them: nothing acked is lost, known keys stay served by the clusters
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin front-doors
dev_up --supernodes 3 --clusters 2
python_part front_doors.py
