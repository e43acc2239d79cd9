#!/usr/bin/env bash
# The image that is built from the tested binary runs, as somebody without rights, and has nothing else in it.
#
# check: image from bin/flotilla: builds, keeps its size, runs read-only as no root, answers probes, has no shell (root)
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin image
[ "$(id -u)" = 0 ] || skip "needs root"
"$REPO/ci/setup.sh" containers || fail "podman can't be installed"
export CONTAINERS_CONF=${CONTAINERS_CONF:-$REPO/ci/containers.conf}
podman info >"$WORK/info.log" 2>&1 || skip "podman does not work on this machine: $(tail -n 1 "$WORK/info.log")"
need_space_mb 2000

IMAGE=localhost/flotilla:image$$ NAME=image$$ UNANSWERED=6
# shellcheck disable=SC2016 # expanded at the end
on_end 'podman rm --force "$NAME" >>"$WORK/remove.log" 2>&1; podman image rm --force "$IMAGE" >>"$WORK/remove.log" 2>&1'
built=$("$REPO/ci/image.sh" prebuilt "$IMAGE" 2>"$WORK/image.log") ||
  fail "the image can't be built: $(tail -n 3 "$WORK/image.log" | tr '\n' ' ')"

run() { timeout 60 podman run --rm --read-only --cap-drop all --network none "$@" 2>>"$WORK/run.log"; }
[ "$(run "$IMAGE" --version)" = "$("$FLOTILLA" --version)" ] || fail "the image has another program: $(tail -n 1 "$WORK/run.log")"
status=0
run "$IMAGE" healthcheck live || status=$?
[ "$status" = "$UNANSWERED" ] || fail "a probe of what does not run ended with $status, not $UNANSWERED"
! run --entrypoint /bin/sh "$IMAGE" -c true || fail "the image has a shell"
! run "$IMAGE" fleet-secret /var/lib/flotilla/fleet.secret || fail "the root can be written"
[ "$(podman image inspect --format '{{.User}}' "$IMAGE")" = 65532:65532 ] || fail "the image runs as somebody else"

# A server of its own, asked by the probe as a kubelet does it. It waits for the others of its group: alive, and not ready.
mkdir "$WORK/secret" "$WORK/data"
chown 65532:65532 "$WORK/data"
"$FLOTILLA" fleet-secret "$WORK/secret/fleet.secret" >>"$WORK/run.log"
chown -R 0:65532 "$WORK/secret"
chmod 755 "$WORK" "$WORK/secret"
chmod 440 "$WORK/secret/fleet.secret"
podman run --detach --name "$NAME" --read-only --cap-drop all --network none --volume "$WORK/data:/var/lib/flotilla" \
  --volume "$WORK/secret:/etc/flotilla:ro" --env FLOTILLA_OPS=127.0.0.1:7403 --env FLOTILLA_NAME=supernode-1 \
  --env FLOTILLA_ROOT_KEY_FILE=/var/lib/flotilla/root.key --env FLOTILLA_DATA_DIR=/var/lib/flotilla/data \
  --env FLOTILLA_PUBLIC=127.0.0.1:7401 --env FLOTILLA_PEER=127.0.0.1:7402 \
  --env FLOTILLA_INITIAL_MEMBERS=127.0.0.1:7402,127.0.0.1:7502,127.0.0.1:7602 --env FLOTILLA_FLEET_SECRET_FILE=/etc/flotilla/fleet.secret \
  "$IMAGE" supernode >>"$WORK/run.log" 2>&1 || fail "the server does not start: $(tail -n 1 "$WORK/run.log")"
probe() { timeout 20 podman exec "$NAME" flotilla healthcheck "$1" >>"$WORK/run.log" 2>&1; }
for _ in $(seq 60); do
  ! probe live || break
  sleep 0.5
done
probe live || fail "the server is not alive: $(podman logs "$NAME" 2>&1 | tail -n 2 | tr '\n' ' ')"
! probe ready || fail "a member of a group that can't form is ready"
podman stop --time 30 "$NAME" >>"$WORK/run.log" 2>&1
[ "$(podman inspect --format '{{.State.ExitCode}}' "$NAME")" = 0 ] || fail "SIGTERM did not end the server with 0"
pass "megabytes=$((${built##* } / 1000000))"
