"""Evaluates the policy that guards the floor, as the API server would: `policy.py FILE`, with a file of rendered manifests."""

import sys
from pathlib import Path

import celpy
import yaml

FLOORS = {"data": {"flotilla-a": "3"}}
# Name, pods before, pods after, params, and whether it is allowed.
CASES = [
    ("flotilla-a", 3, 4, FLOORS, True),
    ("flotilla-a", 3, 3, FLOORS, True),
    ("flotilla-a", 4, 3, FLOORS, True),
    ("flotilla-a", 3, 2, FLOORS, False),
    ("flotilla-a", 3, 0, FLOORS, False),
    ("flotilla-a", 5, 3, FLOORS, False),
    # A group that is below its floor, for whatever reason, may grow.
    ("flotilla-a", 1, 2, FLOORS, True),
    # Others' sets, and namespaces whose floors are empty.
    ("postgres", 3, 0, FLOORS, True),
    ("flotilla-a", 3, 0, {}, True),
]


def fail(text: str) -> None:
    print(f"policy: {text}", file=sys.stderr)
    sys.exit(1)


def evaluated(expression: str, activation: dict):
    environment = celpy.Environment()
    return environment.program(environment.compile(expression)).evaluate(activation)


def allowed(policy: dict, name: str, before: int, after: int, params: dict) -> bool:
    """Whether every validation holds; messages are made, too, since one that can't be is an error."""
    def scale(replicas: int) -> dict:
        return {"metadata": {"name": name}, "spec": {"replicas": replicas}}

    given = {"object": scale(after), "oldObject": scale(before), "params": params}
    activation = {key: celpy.json_to_cel(value) for key, value in given.items()}
    variables = celpy.celtypes.MapType()
    for variable in policy["spec"]["variables"]:
        value = evaluated(variable["expression"], activation | {"variables": variables})
        variables[celpy.celtypes.StringType(variable["name"])] = value
    activation["variables"] = variables
    holds = True
    for validation in policy["spec"]["validations"]:
        if not evaluated(validation["expression"], activation):
            holds = False
            said = validation.get("message") or str(evaluated(validation["messageExpression"], activation))
            if "flotilla" not in said:
                fail(f"'{said}' does not say who refuses")
    return holds


def main() -> None:
    documents = [document for document in yaml.safe_load_all(Path(sys.argv[1]).read_text()) if document]
    policy = next(document for document in documents if document["kind"] == "ValidatingAdmissionPolicy")
    for name, before, after, params, wanted in CASES:
        if allowed(policy, name, before, after, params) != wanted:
            fail(f"{name} from {before} to {after} with floors {params} should be {'allowed' if wanted else 'refused'}")
    floors = next(document for document in documents if document["metadata"]["name"] == "flotilla-floors")
    sets = {document["metadata"]["name"] for document in documents if document["kind"] == "StatefulSet"}
    if set(floors["data"]) != sets:
        fail(f"floors are set for {sorted(floors['data'])}, and the StatefulSets are {sorted(sets)}")


main()
