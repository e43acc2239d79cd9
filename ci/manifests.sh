#!/usr/bin/env bash
# Checks what deploys Flotilla in containers without deploying it: manifests, chart, image. `ci/manifests.sh`.
#
# Every overlay and the chart are rendered, compared and validated against the oldest and the newest version of Kubernetes that is
# supported; then come policies, the Dockerfile and the examples. Nothing of it needs a cluster.
set -euo pipefail
# shellcheck source=env.sh
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$ROOT"

# ValidatingAdmissionPolicy and the pause of a preStop hook are on by default from 1.30 on.
OLDEST=1.30
NEWEST=1.37

tools=$(ci/tool.sh manifests)
checkov=$(ci/tool.sh checkov)
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

say() { echo "manifests: $*"; }

PATH=$tools:$PATH "$tools/python" ci/manifests.py render "$out"
as_json() { "$tools/python" -c 'import json, sys, yaml; json.dump([d for d in yaml.safe_load_all(sys.stdin) if d], sys.stdout)'; }
as_json <"$out/prod.yaml" >"$out/prod.json"
{
  cat "$out/loadtest.yaml"
  echo ---
  cat "$out/loadtest-store.yaml"
} | as_json >"$out/jobs.json"
as_json <"$out/example-accept-disk.yaml" >"$out/accept.json"
export PYTHONDONTWRITEBYTECODE=1
(cd tests/containers && MANIFESTS=$out/prod.json JOBS=$out/jobs.json ACCEPT=$out/accept.json "$tools/python" -m unittest --quiet test_pods test_names)
say "pods that are made of them find each other"
say "kustomize and Helm make the same objects, and the chart refuses what it should"

"$tools/python" ci/policy.py "$out/prod.yaml"
say "the policy keeps groups at their floor"

# A Secret of this run, so that its shape is checked, too.
k8s/secrets.sh >"$out/secret.yaml"
for version in "$OLDEST" "$NEWEST"; do
  "$tools/kubernetes-validate" --strict --quiet -k "$version" "$out"/*.yaml
  say "$(find "$out" -name '*.yaml' | wc -l) files are valid for Kubernetes $version"
done

# A tool that finds nothing may have looked at nothing: each has to find a fault that is planted, and to name it.
finds() {
  local tool=$1 fault=$2 found
  shift 2
  if found=$("$@" 2>&1) || ! grep -q "$fault" <<<"$found"; then
    printf 'manifests: %s does not find %s, which was planted:\n%s\n' "$tool" "$fault" "$found" >&2
    exit 1
  fi
}

mkdir "$out/faults"
sed 's/replicas: 3/replikas: 3/' "$out/prod.yaml" >"$out/faults/field.yaml"
finds kubernetes-validate replikas "$tools/kubernetes-validate" --strict -k "$NEWEST" "$out/faults/field.yaml"

# The first argument is the list of policies that don't apply.
check_policies() { "$checkov" --config-file "k8s/$1" --file "${@:2}"; }
passes_policies() {
  check_policies "$@" >"$out/checkov.log" 2>&1 || { cat "$out/checkov.log" >&2; exit 1; }
  say "checkov without what $1 names: $(grep -o 'Passed checks: .*' "$out/checkov.log")"
}
passes_policies checkov.yaml "$out"/{prod,dev,loadtest,loadtest-store}.yaml
sed 's/allowPrivilegeEscalation: false/allowPrivilegeEscalation: true/' "$out/prod.yaml" >"$out/faults/rights.yaml"
finds checkov CKV_K8S_20 check_policies checkov.yaml "$out/faults/rights.yaml"
# The example needs the overlay's NetworkPolicy beside it, as it has it in a cluster.
passes_policies checkov-once.yaml "$out"/{helm-prod,helm-dev,prod,example-accept-disk}.yaml
# In the test's pod alone.
sed '/^kind: Pod$/,$s/allowPrivilegeEscalation: false/allowPrivilegeEscalation: true/' "$out/helm-prod.yaml" >"$out/faults/test.yaml"
finds checkov Pod.flotilla.flotilla-test check_policies checkov-once.yaml "$out/faults/test.yaml"

"$tools/hadolint" Dockerfile
sed 's/^USER .*/USER root/' Dockerfile >"$out/faults/Dockerfile"
finds hadolint DL3002 "$tools/hadolint" "$out/faults/Dockerfile"
say "hadolint has nothing to say"
