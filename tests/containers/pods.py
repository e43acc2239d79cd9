"""Pods out of rendered manifests, as the StatefulSet controller and the kubelet would make them. Pure: plain data in, plain data out.

What podman does not do is done here: names and labels of pods, variables that name other variables or the pod's fields, names and
where they are looked for, and volumes of secrets that a group may read. Probes and hooks are left out of the pods; who runs them
asks for them here.
"""

import re
from dataclasses import dataclass, field

from names import DOMAIN

# Variables in braces of a value, and the doubled sign that stands for one that is meant.
REFERENCE = re.compile(r"\$\$|\$\((\w+)\)")
# As kubelets set it: a name with fewer dots is looked for in the pod's own domains first.
NDOTS = 5


@dataclass
class Place:
    """Where the pods of a test lie: a prefix of their names for podman, folders, who answers for names, and variables that containers
    of a name get besides."""

    prefix: str
    image: str
    volumes: str
    secrets: str
    dns: str
    limits: bool = True
    env: dict[str, dict[str, str]] = field(default_factory=dict)


def sets(documents: list[dict]) -> list[dict]:
    """The StatefulSets, in the order of their names."""
    found = [document for document in documents if document["kind"] == "StatefulSet"]
    return sorted(found, key=lambda document: document["metadata"]["name"])


def name_of(statefulset: dict, ordinal: int) -> str:
    return f"{statefulset['metadata']['name']}-{ordinal}"


def domains(namespace: str) -> list[str]:
    """Where a pod's resolver looks for a name that is no whole one."""
    return [f"{namespace}.svc.{DOMAIN}", f"svc.{DOMAIN}", DOMAIN]


def looked_for(name: str, namespace: str) -> list[str]:
    """The whole names that a pod's resolver asks for, in this order."""
    within = [f"{name}.{domain}" for domain in domains(namespace)]
    return [*within, name] if name.count(".") < NDOTS else [name, *within]


def whole_name(statefulset: dict, ordinal: int, documents: list[dict]) -> str:
    """The name that DNS has for a pod."""
    service, namespace = statefulset["spec"]["serviceName"], statefulset["metadata"]["namespace"]
    headless(documents, service)
    return f"{name_of(statefulset, ordinal)}.{service}.{domains(namespace)[0]}"


def front(documents: list[dict]) -> tuple[dict, str, int, int]:
    """The one service with an address of its own, its whole name, its port, and the port of the pods behind it."""
    (service,) = [document for document in documents if document["kind"] == "Service" and document["spec"].get("clusterIP") != "None"]
    (port,) = service["spec"]["ports"]
    behind = {
        one["containerPort"]
        for of in sets(documents)
        if selects(service, of)
        for one in of["spec"]["template"]["spec"]["containers"][0]["ports"]
        if one["name"] == port["targetPort"]
    }
    (target,) = behind
    return service, f"{service['metadata']['name']}.{domains(service['metadata']['namespace'])[0]}", port["port"], target


def selects(service: dict, statefulset: dict) -> bool:
    return service["spec"]["selector"].items() <= statefulset["spec"]["template"]["metadata"]["labels"].items()


def headless(documents: list[dict], name: str) -> dict:
    """The service that gives pods their names; it has to give them before they are ready, or no group ever forms."""
    for document in documents:
        if document["kind"] == "Service" and document["metadata"]["name"] == name:
            spec = document["spec"]
            if spec.get("clusterIP") != "None" or not spec.get("publishNotReadyAddresses"):
                raise ValueError(f"service {name} does not publish pods that are not ready")
            return document
    raise ValueError(f"there is no service {name}")


def labels(statefulset: dict, ordinal: int) -> dict[str, str]:
    """A pod's labels, those of the controller too."""
    own = {"statefulset.kubernetes.io/pod-name": name_of(statefulset, ordinal), "apps.kubernetes.io/pod-index": str(ordinal)}
    return statefulset["spec"]["template"]["metadata"]["labels"] | own


def scraped(statefulset: dict, ordinal: int, documents: list[dict]) -> tuple[int, dict[str, str]]:
    """The port of a pod's metrics, and the labels that a ServiceMonitor gives it, but for those that its address decides."""
    (container,) = statefulset["spec"]["template"]["spec"]["containers"]
    service = headless(documents, statefulset["spec"]["serviceName"])
    (behind,) = [port["targetPort"] for port in service["spec"]["ports"] if port["name"] == "ops"]
    (number,) = [port["containerPort"] for port in container["ports"] if port["name"] == behind]
    metadata = statefulset["metadata"]
    return number, {
        "namespace": metadata["namespace"], "service": service["metadata"]["name"], "pod": name_of(statefulset, ordinal),
        "container": container["name"], "endpoint": "ops",
    }


def variables(env: list[dict], fields: dict[str, str]) -> dict[str, str]:
    """A container's variables with their values; one may name those before it, and one that it does not know stays as it is."""
    values: dict[str, str] = {}
    for one in env:
        if "value" in one:
            found = lambda match: "$" if match[0] == "$$" else values.get(match[1], match[0])  # noqa: E731
            values[one["name"]] = REFERENCE.sub(found, one["value"])
        else:
            # A label that is not there is an empty text.
            values[one["name"]] = fields.get(one["valueFrom"]["fieldRef"]["fieldPath"], "")
    return values


def fields(metadata: dict) -> dict[str, str]:
    """What a container may ask of its pod, by the path that it asks with."""
    plain = {"metadata.name": metadata["name"], "metadata.namespace": metadata["namespace"]}
    return plain | {f"metadata.labels['{key}']": value for key, value in metadata["labels"].items()}


def expanded(arguments: list[str], values: dict[str, str]) -> list[str]:
    return [REFERENCE.sub(lambda match: values.get(match[1], match[0]), argument) for argument in arguments]


def container(of: dict, values: dict[str, str], place: Place) -> dict:
    made = {
        "name": of["name"],
        "image": place.image,
        "imagePullPolicy": "Never",
        "args": expanded(of["args"], values),
        "env": [{"name": name, "value": value} for name, value in (values | place.env.get(of["name"], {})).items()],
        "securityContext": of["securityContext"],
        "volumeMounts": of["volumeMounts"],
    }
    if place.limits:
        made["resources"] = {"limits": of["resources"]["limits"]}
    return made


def claim(template: str, pod: str) -> str:
    """What the claim of a StatefulSet's pod is called."""
    return f"{template}-{pod}"


def folder(volume: dict, pod: str, place: Place) -> dict:
    """A volume as a folder of this machine: the pod's own claim, one that has a name, or the one with the keys of the Secret."""
    if "secret" in volume:
        source = volume["secret"]
        if source["defaultMode"] != 0o440:
            raise ValueError(f"volume {volume['name']}: mode {source['defaultMode']:o}; the group of a pod has to read it, and nobody else")
        path = f"{place.secrets}/{'+'.join(sorted(item['key'] for item in source['items']))}"
    elif "persistentVolumeClaim" in volume:
        path = f"{place.volumes}/{volume['persistentVolumeClaim']['claimName']}"
    else:
        path = f"{place.volumes}/{claim(volume['name'], pod)}"
    return {"name": volume["name"], "hostPath": {"path": path, "type": "Directory"}}


def pod(metadata: dict, spec: dict, claims: list[str], place: Place) -> dict:
    """The pod that podman is to run."""
    values = [variables(of.get("env", []), fields(metadata)) for of in spec["containers"]]
    volumes = spec.get("volumes", []) + [{"name": name} for name in claims]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{place.prefix}-{metadata['name']}", "labels": metadata["labels"]},
        "spec": {
            # The kubelet restarts containers; here the test does, to see what happens meanwhile.
            "restartPolicy": "Never",
            "dnsConfig": {
                "nameservers": [place.dns],
                "searches": domains(metadata["namespace"]),
                "options": [{"name": "ndots", "value": str(NDOTS)}],
            },
            "securityContext": {key: spec["securityContext"][key] for key in ("runAsNonRoot", "runAsUser", "runAsGroup")},
            "containers": [container(of, given, place) for of, given in zip(spec["containers"], values)],
            "volumes": [folder(volume, metadata["name"], place) for volume in volumes],
        },
    }


def member(statefulset: dict, ordinal: int, place: Place) -> dict:
    """One pod of a StatefulSet."""
    metadata = {
        "name": name_of(statefulset, ordinal),
        "namespace": statefulset["metadata"]["namespace"],
        "labels": labels(statefulset, ordinal),
    }
    claims = [template["metadata"]["name"] for template in statefulset["spec"]["volumeClaimTemplates"]]
    return pod(metadata, statefulset["spec"]["template"]["spec"], claims, place)


def once(document: dict, place: Place) -> dict:
    """A pod that stands for itself."""
    return pod(document["metadata"], document["spec"], [], place)


def steps(job: dict, place: Place) -> list[dict]:
    """The containers of a Job as pods, one for each, to be run one after the other."""
    template = job["spec"]["template"]
    found = []
    for of in template["spec"].get("initContainers", []) + template["spec"]["containers"]:
        metadata = {"name": job["metadata"]["name"], "namespace": job["metadata"]["namespace"], "labels": template["metadata"]["labels"]}
        made = pod(metadata, template["spec"] | {"containers": [of]}, [], place)
        made["metadata"]["name"] += f"-{of['name']}"
        found.append(made)
    return found


def secrets(spec: dict) -> list[str]:
    """The keys of the Secret that the pod mounts together, as `folder` names their folder."""
    return ["+".join(sorted(item["key"] for item in volume["secret"]["items"])) for volume in spec.get("volumes", []) if "secret" in volume]


def hook(statefulset: dict) -> dict:
    """What is done before a container is asked to end."""
    return statefulset["spec"]["template"]["spec"]["containers"][0]["lifecycle"]["preStop"]


def grace_s(statefulset: dict) -> int:
    return statefulset["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]


def probe(statefulset: dict, kind: str) -> dict:
    """A probe of a pod's one container: startup, readiness or liveness."""
    return statefulset["spec"]["template"]["spec"]["containers"][0][f"{kind}Probe"]


def ready_after_s(statefulset: dict) -> int:
    """How long a pod has to answer its readiness probe before it counts as ready."""
    told = probe(statefulset, "readiness")
    return (told.get("successThreshold", 1) - 1) * told["periodSeconds"]
