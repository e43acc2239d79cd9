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
check_begin power-cut
[ "$(id -u)" = 0 ] || skip "needs root to mount an image"
for tool in xfs_io mkfs.ext4 mkfs.xfs losetup strace; do
  PATH=$PATH:/usr/sbin:/sbin command -v "$tool" >/dev/null || skip "$tool is missing"
done
PATH=$PATH:/usr/sbin:/sbin

rounds=${ROUNDS:-3}
image_mb=6000
need_space_mb 4000
disk=$WORK/disk
folders=()
acked=0
cuts=0

make_image() {
  rm -f "$WORK/image"
  truncate -s "${image_mb}M" "$WORK/image"
  case $1 in
    ext4) mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 "$WORK/image" ;;
    xfs) mkfs.xfs -q "$WORK/image" ;;
    *) fail "FS=$1 is neither ext4 nor xfs" ;;
  esac
}

# Every data folder is a mount point of its own, as it may be in production; what `dev` itself keeps stays outside.
mount_all() {
  mkdir -p "$disk"
  mount -o loop "$WORK/image" "$disk"
  local folder
  for folder in "${folders[@]}"; do
    mkdir -p "$disk/$folder" "$DIR/$folder"
    mount --bind "$disk/$folder" "$DIR/$folder"
  done
}

# A file system that was shut down answers nothing, so the kernel's table is asked, not the folder.
mounted() {
  awk -v dir="$1" '$2 == dir { found = 1 } END { exit !found }' /proc/self/mounts
}

unmount_one() {
  local tries
  mounted "$1" || return 0
  for tries in {1..50}; do
    umount "$1" 2>/dev/null && return 0
    sleep 0.1
  done
  umount -l "$1"
  note "$1 was busy after $tries tries"
}

unmount_all() {
  local folder
  for folder in "${folders[@]}"; do unmount_one "$DIR/$folder"; done
  unmount_one "$disk"
}

# The folders that a deployment has, from one that never sees load.
learn_folders() {
  dev_up
  mapfile -t folders < <(jq -r '.processes[].data_dir' "$DIR/dev.json" | sed 's|^.*/dev/||')
  dev_down
  rm -rf "$DIR"
}

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
