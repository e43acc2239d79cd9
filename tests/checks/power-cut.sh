#!/usr/bin/env bash
# What was acked survives a power cut of the whole fleet.
#
# check: all data folders lose what was not synced, ROUNDS times on ext4 and xfs (FS=); CONTROL=1 must FAIL
# ci: no
#
# All data folders lie on one image. The cut is `xfs_io shutdown`: the file system stops at once and drops whatever is
# not on its disk; then every server is killed, the image is mounted again and the fleet starts by itself.
# CONTROL=1 runs the servers with syncs that do nothing and say yes: the same check must then find losses.
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source=lib/image.sh
. "$LIB/image.sh"
check_begin power-cut
need_image strace

rounds=${ROUNDS:-3}
image_mb=6000
need_space_mb 4000
disk=$WORK/disk
acked=0
cuts=0

on_end unmount_all
learn_folders
for fs in ${FS:-ext4 xfs}; do
  make_image "$fs"
  mount_all
  dev_up
  for ((round = 1; round <= rounds; round++)); do
    line=$(python3 "$CHECKS/power_cut.py" "$disk" "$WORK/ledger-$fs-$round") || fail "$fs round $round: ${line:-no reason}"
    unmount_all
    mount_all
    dev_up
    line=$(python3 "$CHECKS/power_cut.py" check "$WORK/ledger-$fs-$round") || fail "$fs round $round: ${line:-no reason}"
    note "$fs round $round: $line"
    count=${line#acked=}
    acked=$((acked + ${count%% *}))
    cuts=$((cuts + 1))
  done
  dev_down
  unmount_all
  rm -rf "$DIR"
done
pass "cuts=$cuts acked=$acked lost=0"
