# shellcheck shell=bash
# A deployment whose data folders lie on one image, so that a check can cut the power of all of them at once.
#
# A check sets image_mb and disk, calls need_image, learn_folders, make_image and mount_all, and has unmount_all called at its end.
# The cut itself is `xfs_io -x -c shutdown "$disk"`; afterwards the servers are killed, and unmount_all and mount_all bring back
# what was synced.

folders=()

# Skips when this machine can't mount an image or cut its power.
need_image() {
  [ "$(id -u)" = 0 ] || skip "needs root to mount an image"
  PATH=$PATH:/usr/sbin:/sbin
  local tool
  for tool in xfs_io mkfs.ext4 mkfs.xfs losetup "$@"; do
    command -v "$tool" >/dev/null || skip "$tool is missing"
  done
}

make_image() {
  rm -f "$WORK/image"
  truncate -s "${image_mb:?the check sets it}M" "$WORK/image"
  case $1 in
    ext4) mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 "$WORK/image" ;;
    xfs) mkfs.xfs -q "$WORK/image" ;;
    *) fail "FS=$1 is neither ext4 nor xfs" ;;
  esac
}

# Every data folder is a mount point of its own, as it may be in production; what `dev` itself keeps stays outside.
mount_all() {
  mkdir -p "${disk:?the check sets it}"
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
