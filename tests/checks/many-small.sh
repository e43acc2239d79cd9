#!/usr/bin/env bash
# Many small files, acked, are all back after a power cut.
#
# check: N (100000) files of 5 to 20 KB are put while the power goes for all folders; each acked one is read back (FS=, CONTROL=1)
# ci: no
#
# The cut comes while more files are being put, so some are in flight. CONTROL=1 flips one bit of one acked file in all of its
# copies after the start: the check must FAIL.
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source=lib/image.sh
. "$LIB/image.sh"
check_begin many-small
need_image

export N=${N:-100000}
image_mb=$((8000 + N / 10))
need_space_mb $((3500 + N / 10))
disk=$WORK/disk

on_end unmount_all
learn_folders
make_image "${FS:-ext4}"
mount_all
dev_up
line=$(python3 "$CHECKS/many_small.py" put "$disk" "$WORK/acked") || fail "${line:-no reason}"
note "$line"
unmount_all
mount_all
begun=$(date +%s%3N)
dev_up
ready_ms=$(($(date +%s%3N) - begun))
python_part many_small.py check "$WORK/acked" "$ready_ms"
