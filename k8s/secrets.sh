#!/usr/bin/env bash
# Prints a Secret with a new fleet secret and a new root key: `k8s/secrets.sh [NAMESPACE] | kubectl create -f -`.
#
# `create` refuses a second one, and must: a fleet with another secret is another fleet. Nothing here has a default.
set -euo pipefail
namespace=${1:-flotilla}
random() { od -An -tx1 -N32 /dev/urandom | tr -d ' \n'; }
cat <<YAML
apiVersion: v1
kind: Secret
metadata:
  name: flotilla-secrets
  namespace: $namespace
  labels:
    app.kubernetes.io/name: flotilla
    app.kubernetes.io/instance: flotilla
type: Opaque
immutable: true
stringData:
  fleet.secret: $(random)
  root.key: flt_$(random)
YAML
