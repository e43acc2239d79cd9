#!/usr/bin/env bash
# Compares this revision with another under one load profile: `ci/bench.sh PROFILE [ARGUMENTS…]`.
#
# REV names the other revision. Without it that is the last one on the main line that this one stands on, or the parent
# if this one is on the main line itself, or HEAD if there are changes that are not committed.
# The two take turns, each time with a fresh deployment, ROUNDS times. Only their ratio means anything on a busy machine.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=env.sh
. "$here/env.sh"
profile=$1
shift
rounds=${ROUNDS:-3}
kept=8 # release binaries of some 60 MB each

git_in() { git -C "$ROOT" "$@"; }

# The revision to compare with.
other() {
  local base
  if [ -n "${REV:-}" ]; then echo "$REV"; return; fi
  if [ -n "$(git_in status --porcelain --untracked-files=no)" ]; then echo HEAD; return; fi
  base=$(git_in merge-base HEAD origin/main 2>/dev/null || true)
  if [ -n "$base" ] && [ "$base" != "$(git_in rev-parse HEAD)" ]; then echo "$base"; else echo HEAD^; fi
}

# Builds the checkout $1 and copies its release binary to $2.
build() {
  FLOTILLA_REV=$3 "$1/ci/cargo.sh" build --release --package flotilla >&2
  mkdir -p "$(dirname "$2")"
  # A rename, because another bench may be running the old file.
  cp "$CARGO_TARGET_DIR/release/flotilla" "$2.new"
  mv "$2.new" "$2"
}

# Prints the path of the release binary of commit $1, which is built at most once.
binary() {
  local commit=$1 out=$FLOTILLA_CACHE/bench/$1/flotilla tree
  if [ ! -x "$out" ]; then
    tree=$(mktemp -d "${TMPDIR:-/tmp}/flotilla-bench-tree.XXXXXX")
    git_in worktree add --quiet --detach "$tree" "$commit"
    build "$tree" "$out" "$(git_in rev-parse --short "$commit")" || { drop_tree "$tree"; return 1; }
    drop_tree "$tree"
  fi
  touch "$FLOTILLA_CACHE/bench/$commit"
  echo "$out"
}

drop_tree() {
  git_in worktree remove --force "$1"
}

# Removes the binaries that were used longest ago.
prune() {
  find "$FLOTILLA_CACHE/bench" -mindepth 1 -maxdepth 1 -type d -printf '%T@ %p\n' | sort -rn | tail -n +$((kept + 1)) |
    cut -d' ' -f2- | while read -r old; do rm -rf "$old"; done
}

before=$(git_in rev-parse --verify --quiet "$(other)^{commit}") || { echo "bench: no revision '$(other)'" >&2; exit 2; }
head=$(git_in rev-parse HEAD)
old=$(binary "$before")
if [ -n "$(git_in status --porcelain --untracked-files=no)" ]; then
  new=$FLOTILLA_CACHE/bench/changed/flotilla
  build "$ROOT" "$new" "$(git_in rev-parse --short HEAD)+"
else
  new=$(binary "$head")
fi
prune

FLOTILLA=$new
# shellcheck source=../tests/checks/lib/common.sh
. "$ROOT/tests/checks/lib/common.sh"
check_begin "bench-$profile"

# One run of the binary $1, whose report goes to $2.
run() {
  FLOTILLA=$1
  DIR=$WORK/dev
  note "$(basename "$2" .json): load $(cut -d' ' -f1 /proc/loadavg)"
  dev_up --clusters 1
  "$new" loadtest run "$profile" --json "$2" "${arguments[@]}" >>"$WORK/runs.log"
  dev_down
  rm -rf "$DIR"
}

arguments=("$@")
for round in $(seq "$rounds"); do
  # Who goes first changes, because the second finds the machine as the first left it.
  if [ $((round % 2)) = 1 ]; then
    run "$old" "$WORK/old-$round.json"
    run "$new" "$WORK/new-$round.json"
  else
    run "$new" "$WORK/new-$round.json"
    run "$old" "$WORK/old-$round.json"
  fi
done
python3 "$here/bench.py" "$WORK"/old-*.json -- "$WORK"/new-*.json || fail "the reports can't be compared"
pass "profile $profile, $rounds rounds, $(git_in rev-parse --short "$before") and $(basename "$(dirname "$new")" | cut -c1-7)"
