#!/usr/bin/env bash
# Keys of principals: shown once, known everywhere soon, revoked everywhere soon, kept nowhere in plain.
#
# check: a key made at one supernode opens every listener within 5 s, and none 5 s after it was revoked, nor do redirects made with it
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin keys
dev_up --supernodes 3 --clusters 2
python_part keys.py
