"""Renders what k8s/ has and compares both ways of rendering: `manifests.py render OUT`, with kubectl and Helm's library beside it.

OUT gets one file for each overlay and each set of chart values. They have to be the same objects, but for the chart's Secret, which is
random, and its test.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import helm_python
import yaml

ROOT = Path(__file__).resolve().parent.parent
K8S = ROOT / "k8s"
CHART = K8S / "helm" / "flotilla"
TICKETS = ROOT / "api/src/tickets.rs"
RELEASE = NAMESPACE = "flotilla"
OVERLAYS = {"prod": None, "dev": "values-dev.yaml"}
ALONE = ["namespace", "loadtest", "loadtest/store", "monitoring"]
MONITORING = {"monitoring": {"scrape": True, "rules": True, "dashboards": True}}
# What takes data along when it is deleted; the Secret is immutable, and there is none like it.
HOLDS_DATA = ["Namespace", "Secret", "PersistentVolumeClaim"]
# Where the policy finds how many pods each group keeps.
FLOORS = "flotilla-floors"
# How long DNS may give a pod's old address: CoreDNS, as Kubernetes sets it up, keeps an answer for so long.
DNS_S = 30
# Names that are not DNS names, groups that are too small, an image that moves: what the schema and the chart must refuse.
REFUSED = [
    {"clusters": [{"name": "A", "members": 3, "replicas": 3}]},
    {"clusters": [{"name": "supernodes", "members": 3, "replicas": 3}]},
    {"clusters": [{"name": "a", "members": 3, "replicas": 2}]},
    {"clusters": [{"name": "a", "members": 5, "replicas": 4}]},
    {"clusters": [{"name": "a", "members": 3, "replicas": 3}, {"name": "a", "members": 5, "replicas": 5}]},
    {"clusters": []},
    {"supernodes": {"members": 2}},
    {"supernodes": {"members": 3, "replicas": 2}},
    {"image": {"tag": "latest"}},
    {"nodes": {"settings": {"cache_bytes": 1048576}}},
    {"nodes": {"settings": {"cache-bytes": "1MiB"}}},
    {"nodes": {"storage": {"size": "10"}}},
    {"secret": {"existing": "x"}},
    {"listen": "::"},
    {"monitoring": {"rules": "yes"}},
    {"floor": {"keep": "yes"}},
    {"nodes": {"tolerations": [{"keys": "x"}]}},
    {"supernodes": {"podAnnotations": {"x": 1}}},
]


def fail(text: str) -> None:
    print(f"manifests: {text}", file=sys.stderr)
    sys.exit(1)


def kustomized(folder: str) -> str:
    """What `kubectl apply -k` would send."""
    command = ["kubectl", "kustomize", str(K8S / folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        fail(f"k8s/{folder}: {result.stderr.strip()}")
    return result.stdout


def values(file: str | None) -> dict:
    return yaml.safe_load((CHART / file).read_text()) if file else {}


def rendered(chart, given: dict, upgrade: bool = False, release: str = RELEASE) -> str:
    """What `helm install` or `helm upgrade` would send, if the cluster had no Secret yet."""
    files = chart.render(values=given, name=release, namespace=NAMESPACE, is_install=not upgrade, is_upgrade=upgrade)
    return "\n---\n".join(text for name, text in sorted(files.items()) if name.endswith(".yaml") and text.strip())


def objects(text: str) -> dict:
    """Objects by what they are called, without those that only one way makes."""
    found = {}
    for document in yaml.safe_load_all(text):
        if document is None or document["kind"] == "Secret":
            continue
        if "helm.sh/hook" in document["metadata"].get("annotations", {}):
            continue
        name = (document["kind"], document["metadata"].get("namespace", ""), document["metadata"]["name"])
        if name in found:
            fail(f"{name} is there twice")
        found[name] = document
    return found


def settled(env: list[dict]) -> dict:
    """What a container's variables are in the end: a variable may use those before it, so order counts only there."""
    values = {}
    for one in env:
        value = one.get("value")
        if value is None:
            values[one["name"]] = f"<{json.dumps(one['valueFrom'], sort_keys=True)}>"
        else:
            values[one["name"]] = re.sub(r"\$\((\w+)\)", lambda m: values.get(m[1], m[0]), value)
    return values


def settle(value):
    """The same object with the variables of its containers as they are in the end."""
    if isinstance(value, dict):
        return {key: settled(of) if key == "env" else settle(of) for key, of in value.items()}
    return [settle(of) for of in value] if isinstance(value, list) else value


def differences(left, right, path: str = "") -> list[str]:
    """Where two objects differ, one line each."""
    if isinstance(left, dict) and isinstance(right, dict):
        keys = sorted({*left, *right})
        return [line for key in keys for line in differences(left.get(key), right.get(key), f"{path}.{key}")]
    if isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        return [line for i, pair in enumerate(zip(left, right)) for line in differences(*pair, f"{path}[{i}]")]
    return [] if left == right else [f"{path}: kustomize {json.dumps(left)}, Helm {json.dumps(right)}"]


def compare(overlay: str, ours: str, theirs: str) -> None:
    left, right = objects(ours), objects(theirs)
    lines = [f"only kustomize has {name}" for name in left.keys() - right.keys()]
    lines += [f"only Helm has {name}" for name in right.keys() - left.keys()]
    for name in sorted(left.keys() & right.keys()):
        lines += [f"{'/'.join(name)}{line}" for line in differences(settle(left[name]), settle(right[name]))]
    if lines:
        fail(f"{overlay}: kustomize and Helm differ:\n  " + "\n  ".join(lines))


def of_kind(text: str, kind: str) -> list[dict]:
    return [document for document in yaml.safe_load_all(text) if document and document["kind"] == kind]


def of_budgets(text: str) -> list[str]:
    """Every set has one budget that lets one pod go, and lets no second one go because it is not ready: it may vote and serve."""
    faults = []
    for of in of_kind(text, "StatefulSet"):
        wanted = {"maxUnavailable": 1, "selector": of["spec"]["selector"]}
        found = [budget["spec"] for budget in of_kind(text, "PodDisruptionBudget") if budget["spec"]["selector"] == wanted["selector"]]
        if found != [wanted]:
            faults.append(f"{of['metadata']['name']}: its budgets are {json.dumps(found)}")
    return faults


def of_probes(text: str) -> list[str]:
    """A pod of several is ready only when others find it, and one alone at once."""
    faults = []
    for of in of_kind(text, "StatefulSet"):
        probe = of["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]
        waits_s = (probe.get("successThreshold", 1) - 1) * probe["periodSeconds"]
        if (waits_s > DNS_S) != (of["spec"]["replicas"] > 1):
            faults.append(f"{of['metadata']['name']}: of {of['spec']['replicas']} pods each is ready after {waits_s} s, DNS forgets after {DNS_S} s")
    return faults


def of_deletion(text: str) -> list[str]:
    """Whoever deletes what was applied keeps the data: the claims of a set stay, and nothing that holds them goes."""
    faults = [f"{kind} {of['metadata']['name']} goes with it" for kind in HOLDS_DATA for of in of_kind(text, kind)]
    for of in of_kind(text, "StatefulSet"):
        policy = of["spec"].get("persistentVolumeClaimRetentionPolicy")
        if policy != {"whenDeleted": "Retain", "whenScaled": "Retain"}:
            faults.append(f"{of['metadata']['name']}: its claims are kept by {json.dumps(policy)}")
    return faults


def sound(overlay: str, text: str) -> None:
    """What no schema knows."""
    faults = of_budgets(text) + of_probes(text) + of_deletion(text)
    if faults:
        fail(f"{overlay}:\n  " + "\n  ".join(faults))


def scraped(text: str) -> None:
    """Prometheus finds every pod once: each set has one service with the port that the monitor asks for."""
    (monitor,) = of_kind(text, "ServiceMonitor")
    wanted, port = monitor["spec"]["selector"]["matchLabels"], monitor["spec"]["endpoints"][0]["port"]
    found = []
    for service in of_kind(text, "Service"):
        here = service["metadata"]["namespace"] == monitor["metadata"]["namespace"]
        if here and wanted.items() <= service["metadata"]["labels"].items():
            found += [service["spec"]["selector"] for one in service["spec"]["ports"] if one["name"] == port]
    sets = [of["spec"]["selector"]["matchLabels"] for of in of_kind(text, "StatefulSet")]
    by = lambda labels: sorted(labels.items())  # noqa: E731
    if not sets or sorted(found, key=by) != sorted(sets, key=by):
        fail(f"the ServiceMonitor scrapes pods with the labels {found}, and there are {sets}")


def patient(text: str) -> None:
    """The example's proxy waits longer than whoever watches a ticket may, or its 504 comes before the answer."""
    (ingress,) = of_kind(text, "Ingress")
    ticket_s = int(re.search(r"^pub const TICKET_WAIT_MAX_S: u64 = (\d+);$", TICKETS.read_text(), re.M)[1])
    for way in ("read", "send"):
        proxy_s = int(ingress["metadata"]["annotations"][f"nginx.ingress.kubernetes.io/proxy-{way}-timeout"])
        if proxy_s <= ticket_s:
            fail(f"the Ingress has proxy-{way}-timeout {proxy_s}, and ?wait= may be {ticket_s} s")


def refuses(chart, given: dict) -> bool:
    # The library hands values to the templates as they are, so the schema is asked first, as Helm does.
    try:
        chart.validate_schema(given)
        rendered(chart, given)
    except helm_python.HelmError:
        return True
    return False


def says_why(chart, given: dict, words: str, upgrade: bool = False) -> None:
    """What a template refuses, it refuses with a word on what to do."""
    try:
        rendered(chart, given, upgrade)
    except helm_python.HelmRenderError as error:
        if words in str(error):
            return
        fail(f"the chart refuses {given} without '{words}': {error}")
    fail(f"the chart takes {given}")


def reserved(chart) -> None:
    """A setting that the chart makes itself is refused: the container would have it twice, and which one counts is chance."""
    for of in of_kind(rendered(chart, {}), "StatefulSet"):
        names = [one["name"] for one in of["spec"]["template"]["spec"]["containers"][0]["env"]]
        if len(names) != len(set(names)):
            fail(f"{of['metadata']['name']} has a variable twice: {sorted(names)}")
        for name in names:
            setting = name.removeprefix("FLOTILLA_").lower()
            if name.startswith("FLOTILLA_") and not refuses(chart, {"nodes": {"settings": {setting: "x"}}}):
                fail(f"the chart takes the setting {setting}, which it makes itself")


def passes_on(chart) -> None:
    """What values say of pods reaches the pods of that kind, and no others."""
    own = {"nodeSelector": {"disk": "ssd"}, "tolerations": [{"key": "storage", "operator": "Exists", "effect": "NoSchedule"}]}
    given = {"image": {"pullSecrets": ["registry"]}, "nodes": own | {"podAnnotations": {"a.example/b": "c"}}}
    chart.validate_schema(given)
    for of in of_kind(rendered(chart, given), "StatefulSet") + of_kind(rendered(chart, given), "Pod"):
        pod = of["spec"].get("template", of)
        node = "flotilla/cluster" in pod["metadata"].get("labels", {})
        wanted = {"imagePullSecrets": [{"name": "registry"}]} | (own if node else {})
        found = {key: pod["spec"][key] for key in ("imagePullSecrets", *own) if key in pod["spec"]}
        if found != wanted or ("a.example/b" in pod["metadata"].get("annotations", {})) != node:
            fail(f"{of['metadata']['name']} gets {json.dumps(found)} and {pod['metadata'].get('annotations')}")


def upgrades(chart) -> None:
    """An upgrade that does not find the fleet's Secret must not make another one."""
    install, upgrade = [of_kind(rendered(chart, {"secrets": {"existing": "x"}}, way), "StatefulSet") for way in (False, True)]
    if not upgrade or install != upgrade:
        fail("an upgrade with a Secret of its own makes other sets than an install")
    if len(of_kind(rendered(chart, {}), "Secret")) != 1:
        fail("an install makes no Secret")
    says_why(chart, {}, "secrets.existing", upgrade=True)


def keeps_floors(chart) -> None:
    """A release that leaves the policy to another one has floors for its groups nevertheless, by the name that the policy asks for."""
    for floor, kinds in (({}, [1, 1, 1]), ({"policy": False}, [0, 0, 1]), ({"keep": False}, [1, 1, 0])):
        text = rendered(chart, {"floor": floor}, release="other")
        found = [of_kind(text, kind) for kind in ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "ConfigMap")]
        if [len(of) for of in found] != kinds:
            fail(f"with floor {floor} the chart makes {[of['metadata']['name'] for kind in found for of in kind]}")
        sets = {of["metadata"]["name"]: str(of["spec"]["replicas"]) for of in of_kind(text, "StatefulSet")}
        for of in found[2]:
            if (of["metadata"]["name"], of["data"]) != (FLOORS, sets):
                fail(f"with floor {floor} {of['metadata']['name']} has {of['data']}, and the groups are {sets}")
        for of in found[1]:
            if of["spec"]["paramRef"]["name"] != FLOORS:
                fail(f"the policy asks for {of['spec']['paramRef']['name']}")


def selectors(value, of: str = "") -> list[dict]:
    """All labels that an object selects pods by, wherever they stand in it."""
    if isinstance(value, list):
        return [found for one in value for found in selectors(one, of)]
    if not isinstance(value, dict) or of == "namespaceSelector":
        return []
    own = [value] if of == "matchLabels" or (of == "selector" and "matchLabels" not in value) else []
    return own + [found for key, one in value.items() for found in selectors(one, key)]


def mixes(chart) -> None:
    """Whatever selects pods of a release selects some of its own, and none of another one's: the labels name the release, whatever
    namespace it is in. A namespace is for one release alone nevertheless, as values.yaml says."""
    texts = [rendered(chart, {}, release=name) for name in ("one", "other")]
    own, others = [[of["spec"]["template"]["metadata"]["labels"] for of in of_kind(text, "StatefulSet")] for text in texts]
    asked = [found for document in yaml.safe_load_all(texts[0]) for found in selectors(document)]
    # A set has its own selector, two of how it spreads, a service's and a budget's.
    if len(asked) < 5 * len(own):
        fail(f"two releases: only {len(asked)} selectors were found")
    for found in asked:
        picks = [any(found.items() <= labels.items() for labels in pods) for pods in (own, others)]
        if picks != [True, False]:
            fail(f"two releases: {found} selects {'its own pods and others' if picks[0] else 'none of its own pods'}")


def lint() -> None:
    for file in OVERLAYS.values():
        report = helm_python.lint(CHART, values(file), strict=True, namespace=NAMESPACE)
        # 1 is a remark, such as that the chart has no icon.
        bad = [message for message in report["messages"] if message["severity"] > 1]
        if bad or report["errors"]:
            fail(f"helm lint with {file or 'values.yaml'}: {bad or report['errors']}")


def main() -> None:
    helm_python.disable_logging()
    if len(sys.argv) != 3 or sys.argv[1] != "render":
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    out = Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    lint()
    with helm_python.Chart.load(CHART) as chart:
        for overlay, file in OVERLAYS.items():
            ours, theirs = kustomized(overlay), rendered(chart, values(file))
            chart.validate_schema(values(file))
            compare(overlay, ours, theirs)
            sound(overlay, ours)
            (out / f"{overlay}.yaml").write_text(ours)
            (out / f"helm-{overlay}.yaml").write_text(theirs)
        watched = "\n---\n".join(kustomized(folder) for folder in ("prod", "monitoring"))
        compare("monitoring", watched, rendered(chart, MONITORING))
        scraped(watched)
        env = rendered(chart, {"nodes": {"settings": {"cache_bytes": "256MiB"}}})
        if env.count('name: FLOTILLA_CACHE_BYTES\n              value: "256MiB"') != 2:
            fail("a setting of the chart does not reach the nodes of both clusters")
        if rendered(chart, {"listen": "[::]"}).count('value: "[::]:740') != 9 or "0.0.0.0" in rendered(chart, {"listen": "[::]"}):
            fail("with listen [::] not all three groups listen on three ports there")
        for given in REFUSED:
            if not refuses(chart, given):
                fail(f"the chart takes {given}")
        reserved(chart)
        passes_on(chart)
        # The schema can't say that names differ.
        says_why(chart, {"clusters": [{"name": "a", "members": 3, "replicas": 3}] * 2}, "a name of its own")
        upgrades(chart)
        keeps_floors(chart)
        mixes(chart)
    for folder in ALONE:
        (out / f"{folder.replace('/', '-')}.yaml").write_text(kustomized(folder))
    patient((K8S / "examples/ingress.yaml").read_text())
    for file in sorted((K8S / "examples").glob("*.yaml")):
        (out / f"example-{file.name}").write_text(file.read_text())


main()
