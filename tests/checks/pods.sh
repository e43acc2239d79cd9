#!/usr/bin/env bash
# The image and the manifests form a fleet by themselves, and lose nothing whatever happens to its pods.
#
# check: pods of the rendered manifests under podman: form, serve, kills, rolling restart, more and fewer nodes, lost disks, a marked one, load test (root; LIMITS=no, LOAD=yes, PACE=1)
# ci: no
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin pods
[ "$(id -u)" = 0 ] || skip "needs root"
"$REPO/ci/setup.sh" containers || fail "podman can't be installed"
export CONTAINERS_CONF=${CONTAINERS_CONF:-$REPO/ci/containers.conf}
need_space_mb 8000

# Names and addresses of this run alone: others may run beside it.
export PREFIX=fleet$$ NETWORK=fleet$$ IMAGE=localhost/flotilla:fleet$$
export SUBNET=10.$((RANDOM % 100 + 100)).$((RANDOM % 250))

# shellcheck disable=SC2317 # called at the end
remove_all() {
  podman pod ps --quiet --filter "name=^$PREFIX-" | while read -r pod; do podman pod rm --force "$pod" </dev/null; done
  podman network rm --force "$NETWORK"
  podman image rm --force "$IMAGE"
}
# shellcheck disable=SC2016 # expanded at the end
on_end 'remove_all >>"$WORK/remove.log" 2>&1'
# There is no deployment of `dev` here, whose end would do it.
on_end "python3 '$LIB/reap.py' '$DIR' '$WORK'"

image=$("$REPO/ci/image.sh" prebuilt "$IMAGE" 2>>"$WORK/image.log") || fail "the image can't be built: $(tail -n 1 "$WORK/image.log")"
note "image: $((${image##* } / 1000000)) MB"
# Names are answered by the test, as a Kubernetes cluster's DNS would.
podman network create --disable-dns --subnet "$SUBNET.0/24" "$NETWORK" >>"$WORK/network.log" 2>&1 || fail "there is no network"

tools=$("$REPO/ci/tool.sh" manifests) || fail "the tools can't be installed"
as_json() { "$tools/python" -c 'import json, sys, yaml; json.dump([d for d in yaml.safe_load_all(sys.stdin) if d], sys.stdout)'; }
export MANIFESTS=$WORK/manifests.json JOBS=$WORK/jobs.json ACCEPT=$WORK/accept.json
as_json <"$REPO/k8s/examples/accept-disk.yaml" >"$ACCEPT"
"$tools/kubectl" kustomize "$REPO/k8s/prod" | as_json >"$MANIFESTS"
{
  "$tools/kubectl" kustomize "$REPO/k8s/loadtest"
  echo ---
  "$tools/kubectl" kustomize "$REPO/k8s/loadtest/store"
} | as_json >"$JOBS"

# As the kubelet mounts them for a pod with fsGroup: root's, readable by its group alone. A folder for each choice of keys.
"$REPO/k8s/secrets.sh" | as_json >"$WORK/secret.json"
chmod 755 "$WORK"
for keys in fleet.secret root.key fleet.secret+root.key; do
  mkdir -p "$WORK/secrets/$keys"
  for key in ${keys//+/ }; do
    jq -j --arg key "$key" '.[0].stringData[$key]' "$WORK/secret.json" >"$WORK/secrets/$keys/$key"
    chown 0:65532 "$WORK/secrets/$keys/$key"
    chmod 0440 "$WORK/secrets/$keys/$key"
  done
done
mkdir -p "$WORK/volumes"
python_part ../containers/fleet.py
