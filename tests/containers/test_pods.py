"""Pods are made as Kubernetes would; MANIFESTS names the rendered ones, JOBS those of the load test, and ACCEPT
the example that accepts a disk, as JSON."""

import json
import os
import unittest
from pathlib import Path

import pods


class Made(unittest.TestCase):
    def setUp(self) -> None:
        self.documents = json.loads(Path(os.environ["MANIFESTS"]).read_text())
        self.place = pods.Place("t", "flotilla:test", "/volumes", "/secrets", "10.1.2.1", env={"node": {"EXTRA": "x"}})
        self.sets = {of["metadata"]["name"]: of for of in pods.sets(self.documents)}

    def env(self, name: str, ordinal: int) -> dict[str, str]:
        made = pods.member(self.sets[name], ordinal, self.place)
        return {one["name"]: one["value"] for one in made["spec"]["containers"][0]["env"]}

    def found(self, name: str, known: set[str]) -> bool:
        return bool(known.intersection(pods.looked_for(name, "flotilla")))

    def test_every_pod_finds_every_address_that_it_is_told(self) -> None:
        known = {pods.whole_name(of, ordinal, self.documents) for of in self.sets.values() for ordinal in range(5)}
        self.assertFalse(self.found("flotilla-a-0.flotilla-b", known))
        for name in self.sets:
            for ordinal in (0, 2, 4):
                env = self.env(name, ordinal)
                told = ["FLOTILLA_INITIAL_MEMBERS", "FLOTILLA_JOIN", "FLOTILLA_ADVERTISE_PEER"]
                told += ["FLOTILLA_SUPERNODES"] if "FLOTILLA_SUPERNODES" in env else []
                for key in told:
                    for address in env[key].split(","):
                        host, port = address.rsplit(":", 1)
                        self.assertEqual((self.found(host, known), port), (True, "7402"), f"{name}-{ordinal}: {key}={env[key]}")
                public = env["FLOTILLA_ADVERTISE_PUBLIC"].removeprefix("http://").removesuffix(":7401")
                self.assertTrue(self.found(public, known))
                self.assertFalse([value for value in env.values() if "$(" in value])

    def test_the_first_pods_are_the_members_and_later_ones_are_not(self) -> None:
        for name in self.sets:
            members = self.env(name, 0)["FLOTILLA_INITIAL_MEMBERS"].split(",")
            own = [self.env(name, ordinal)["FLOTILLA_ADVERTISE_PEER"] for ordinal in range(4)]
            self.assertEqual(members, own[:3])
            self.assertNotIn(own[3], members)

    def test_clusters_are_told_apart_by_their_label_alone(self) -> None:
        a, b = self.env("flotilla-a", 1), self.env("flotilla-b", 1)
        self.assertEqual((a["FLOTILLA_CLUSTER"], b["FLOTILLA_CLUSTER"]), ("a", "b"))
        self.assertEqual(a["FLOTILLA_SUPERNODES"], b["FLOTILLA_SUPERNODES"])
        self.assertEqual(a["FLOTILLA_NAME"], "flotilla-a-1")
        self.assertEqual(a["FLOTILLA_ZONE"], "", "a machine without a zone")

    def test_supernodes_are_the_ones_that_form_their_group(self) -> None:
        wanted = self.env("flotilla-supernodes", 0)["FLOTILLA_INITIAL_MEMBERS"]
        self.assertEqual(self.env("flotilla-a", 0)["FLOTILLA_SUPERNODES"], wanted)

    def test_nodes_get_no_root_key_and_nobody_gets_a_shell(self) -> None:
        for name, of in self.sets.items():
            keys = pods.secrets(of["spec"]["template"]["spec"])
            self.assertEqual(keys, ["fleet.secret+root.key" if name == "flotilla-supernodes" else "fleet.secret"])
            made = pods.member(of, 0, self.place)["spec"]
            security = made["containers"][0]["securityContext"]
            self.assertTrue(security["readOnlyRootFilesystem"] and security["capabilities"]["drop"] == ["ALL"])
            self.assertFalse(security["allowPrivilegeEscalation"])
            command = pods.hook(of).get("exec", {}).get("command", ["flotilla"])
            self.assertEqual(command[0], "flotilla")

    def test_variables_are_expanded_as_kubernetes_does(self) -> None:
        env = [
            {"name": "LATE", "value": "$(EARLY)"},
            {"name": "EARLY", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['x']"}}},
            {"name": "BOTH", "value": "$(EARLY)-$$(EARLY)-$(NONE)"},
        ]
        values = pods.variables(env, {"metadata.labels['x']": "1"})
        self.assertEqual(values, {"LATE": "$(EARLY)", "EARLY": "1", "BOTH": "1-$(EARLY)-$(NONE)"})

    def test_a_service_that_hides_pods_is_found(self) -> None:
        for document in self.documents:
            document.get("spec", {}).pop("publishNotReadyAddresses", None)
        with self.assertRaises(ValueError):
            pods.whole_name(self.sets["flotilla-a"], 0, self.documents)

    def test_clients_come_to_supernodes_by_one_name(self) -> None:
        service, name, port, target = pods.front(self.documents)
        self.assertEqual((name, port, target), ("flotilla.flotilla.svc.cluster.local", 80, 7401))
        self.assertEqual([name for name, of in self.sets.items() if pods.selects(service, of)], ["flotilla-supernodes"])

    def test_prometheus_finds_the_pods_and_knows_their_namespace(self) -> None:
        port, labels = pods.scraped(self.sets["flotilla-a"], 1, self.documents)
        self.assertEqual((port, labels["namespace"], labels["pod"]), (7403, "flotilla", "flotilla-a-1"))
        services = {name: pods.scraped(of, 0, self.documents)[1]["service"] for name, of in self.sets.items()}
        self.assertEqual(services, {name: name for name in self.sets}, "each set has one of its own")

    def test_pods_ask_the_resolver_of_the_test(self) -> None:
        dns = pods.member(self.sets["flotilla-a"], 0, self.place)["spec"]["dnsConfig"]
        self.assertEqual(dns["nameservers"], ["10.1.2.1"])
        self.assertEqual(dns["searches"], ["flotilla.svc.cluster.local", "svc.cluster.local", "cluster.local"])
        self.assertEqual(pods.looked_for("a.b.c.d.e.f", "flotilla")[0], "a.b.c.d.e.f")

    def test_containers_get_more_variables_by_their_names(self) -> None:
        self.assertEqual(self.env("flotilla-a", 0)["EXTRA"], "x")
        self.assertNotIn("EXTRA", self.env("flotilla-supernodes", 0))

    def test_the_load_tests_jobs_share_a_volume_and_ask_the_service(self) -> None:
        jobs = [document for document in json.loads(Path(os.environ["JOBS"]).read_text()) if document["kind"] == "Job"]
        made = [[step["spec"] for step in pods.steps(job, self.place)] for job in jobs]
        names = [[step["containers"][0]["name"] for step in steps] for steps in made]
        self.assertEqual(names, [["bucket", "spike", "burst"], ["store"]])
        name = pods.front(self.documents)[1]
        for step in (step for steps in made for step in steps):
            paths = [volume["hostPath"]["path"] for volume in step["volumes"]]
            self.assertEqual(paths, ["/volumes/flotilla-loadtest", "/secrets/root.key"])
            api = next(one["value"] for one in step["containers"][0]["env"] if one["name"] == "FLOTILLA_API")
            self.assertIn(name, pods.looked_for(api.removeprefix("http://"), "flotilla"))

    def test_a_disk_is_accepted_where_its_server_has_it_and_as_its_user(self) -> None:
        (document,) = json.loads(Path(os.environ["ACCEPT"]).read_text())
        template = self.sets["flotilla-a"]["spec"]["template"]["spec"]
        made, server = [one["spec"] for one in (pods.once(document, self.place), pods.member(self.sets["flotilla-a"], 0, self.place))]
        (of,) = made["containers"]
        self.assertEqual(of["args"], ["node", "accept-disk", self.env("flotilla-a", 0)["FLOTILLA_DATA_DIR"]])
        self.assertEqual(document["spec"]["containers"][0]["image"], template["containers"][0]["image"])
        self.assertEqual(document["spec"]["securityContext"], template["securityContext"])
        for found, there in ((made["volumes"], server["volumes"]), (of["volumeMounts"], server["containers"][0]["volumeMounts"])):
            self.assertEqual([one for one in found if one not in there], [])
        # It counts as no server, and may reach no more than one.
        labels = document["metadata"]["labels"].items()
        self.assertFalse([name for name, one in self.sets.items() if one["spec"]["selector"]["matchLabels"].items() <= labels])
        selectors = {kind: [one["spec"] for one in self.documents if one["kind"] == kind] for kind in ("Service", "NetworkPolicy")}
        self.assertFalse([one for one in selectors["Service"] if one["selector"].items() <= labels])
        self.assertTrue([one for one in selectors["NetworkPolicy"] if one["podSelector"]["matchLabels"].items() <= labels])


if __name__ == "__main__":
    unittest.main()
