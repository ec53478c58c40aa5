#!/usr/bin/env python3
"""The chart: lint, a matrix of values, refusals, every manifest against Kubernetes' schemas, and
its configuration read by the gateway itself. Nothing is installed: that would need a cluster.

    python3 tests/chart/test_chart.py
"""

import base64
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import helm_python as helm
import kubernetes_validate
import yaml

sys.path.insert(0, str(Path(__file__).parent))
import generate

ROOT, CHART = generate.ROOT, generate.CHART
KUBERNETES = ["1.31", "1.34", "1.37"]
DIGEST = "sha256:" + "0" * 64
FINGERPRINT = "SHA256:" + "A" * 43

PLAIN = {
    "hostKeys": {"existingSecret": "host-keys"},
    "config": {"identity": {"url": "https://auth.example.com/sftp"}},
}
PROBE = {
    "enabled": True,
    "user": "ann@example.com",
    "directory": "/in",
    "existingSecret": "ann",
    "hostKeyFingerprint": FINGERPRINT,
}
SELECTOR = {"podSelector": {"matchLabels": {"app": "prometheus"}}}
# Each is laid over PLAIN.
MATRIX = {
    "plain": {},
    "one of everything": {
        "image": {"digest": DIGEST, "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "registry"}],
        "secrets": {"existingSecret": "keys", "settings": ["storage.secret_access_key"]},
        "config": {"storage": {"access_key_id": "AKIDEXAMPLE", "ca_file": "/ca/ca.pem"}},
        "env": [{"name": "AWS_REGION", "value": "eu-central-1"}],
        "volumes": [{"name": "ca", "configMap": {"name": "ca"}}],
        "volumeMounts": [{"name": "ca", "mountPath": "/ca"}],
        "service": {
            "type": "LoadBalancer",
            "nodePort": 30022,
            "annotations": {"example.com/scheme": "internal"},
            "loadBalancerClass": "example.com/nlb",
            "loadBalancerSourceRanges": ["203.0.113.0/24"],
        },
        "metrics": {"service": {"enabled": True, "annotations": {"prometheus.io/scrape": "true"}}},
        "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/p"}},
        "autoscaling": {"enabled": True},
        "networkPolicy": {
            "enabled": True,
            "sshFrom": [{"ipBlock": {"cidr": "203.0.113.0/24"}}],
            "adminFrom": [SELECTOR],
            "egress": [{"ports": [{"port": 443}]}],
        },
        "podAnnotations": {"example.com/team": "files"},
        "podLabels": {"team": "files"},
        "priorityClassName": "high",
        "nodeSelector": {"kubernetes.io/arch": "arm64"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [
            {"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}
        ],
        "test": PROBE,
    },
    "as little as possible": {
        "replicas": 1,
        "preStopSleepSeconds": 0,
        "listenAddress": "[::]",
        "podDisruptionBudget": {"enabled": False},
        "serviceAccount": {"create": False},
    },
    "secrets of the release": {"secrets": {"values": {"identity.headers": "Authorization: B x"}}},
    "probe with a key": {"test": {**PROBE, "method": "identity"}},
    "node port": {"service": {"type": "NodePort", "externalTrafficPolicy": "Cluster"}},
    "closed, only SSH": {"networkPolicy": {"enabled": True}},
    "other names": {"nameOverride": "sftp", "fullnameOverride": "f" * 80},
}


def merged(base, over):
    both = {key: merged(base[key], over[key]) for key in base.keys() & over.keys()
            if isinstance(base[key], dict) and isinstance(over[key], dict)}
    return {**base, **over, **both}


def render(values, name="r"):
    """Returns the manifests by kind and name."""
    files = helm.Chart.load(CHART).render(values, name=name, namespace="sftp")
    texts = [text for path, text in files.items() if not path.endswith("NOTES.txt")]
    documents = [one for text in texts for one in yaml.safe_load_all(text) if one]
    return {(one["kind"], one["metadata"]["name"]): one for one in documents}


def container(manifests):
    pod = manifests["Deployment", "r-portcullis"]["spec"]["template"]["spec"]
    return pod, pod["containers"][0]


class Chart(unittest.TestCase):
    def refused(self, values, *words):
        with self.assertRaises(helm.HelmError) as refusal:
            render(values)
        for word in words:
            self.assertIn(word, str(refusal.exception))

    def test_lint_finds_nothing(self):
        for name, values in MATRIX.items():
            with self.subTest(name):
                report = helm.lint(CHART, merged(PLAIN, values), strict=True)
                worse = [one for one in report["messages"] if one["severity"] > 1]
                self.assertEqual((worse, report["errors"]), ([], []))

    def test_manifests_are_valid_kubernetes(self):
        for name, values in MATRIX.items():
            for (kind, _), manifest in render(merged(PLAIN, values)).items():
                for version in KUBERNETES:
                    with self.subTest(f"{name}, {kind}, {version}"):
                        kubernetes_validate.validate(manifest, version, strict=True)
                        self.assertLessEqual(len(manifest["metadata"]["name"]), 63)

    def test_the_schema_check_can_fail(self):
        manifest = render(PLAIN)["Deployment", "r-portcullis"]
        manifest["spec"]["replicaz"] = 2
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(manifest, KUBERNETES[0], strict=True)

    def test_without_host_keys_the_installation_fails_and_says_what_to_do(self):
        for values in [{}, {"config": PLAIN["config"]}]:
            self.refused(values, "hostKeys.existingSecret is empty", "ssh-keygen", "kubectl create")

    def test_what_contradicts_itself_is_refused(self):
        for values, word in [
            ({"config": {"identity": {"url": ""}}}, "config.identity.url is empty"),
            ({"secrets": {"existingSecret": "s"}}, "secrets.settings is empty"),
            ({"secrets": {"settings": ["identity.headers"]}}, "secrets.existingSecret"),
            ({"secrets": {"existingSecret": "s", "values": {"identity.headers": "A: b"}}},
             "choose one"),
            ({"test": {"enabled": True}}, "test.hostKeyFingerprint"),
        ]:
            with self.subTest(word):
                self.refused(merged(PLAIN, values), word)

    def test_the_schema_refuses_what_is_not_a_value(self):
        for values, *words in [
            ({"replica": 2}, "replica", "not allowed"),
            ({"replicas": "two"}, "replicas", "integer"),
            ({"service": {"type": "Loadbalancer"}}, "type", "LoadBalancer"),
            ({"config": {"identity": {"urll": "x"}}}, "config/identity", "urll"),
            ({"config": {"limits": {"connections_max": 0}}}, "connections_max", "minimum"),
            ({"config": {"limits": {"part_bytes": "8 apples"}}}, "part_bytes", "pattern"),
            ({"config": {"identity": {"event": "aws"}}}, "event", "transfer-family"),
            ({"config": {"listen": "0.0.0.0:22"}}, "listen", "not allowed"),
            ({"config": {"storage": {"secret_access_key": "x"}}}, "secret_access_key"),
            ({"secrets": {"values": {"storage.region": "x"}}}, "storage.region", "not allowed"),
            ({"test": {"hostKeyFingerprint": "MD5:1"}}, "hostKeyFingerprint", "pattern"),
        ]:
            with self.subTest(str(values)):
                self.refused(merged(PLAIN, values), *words)

    def test_pods_are_locked_down(self):
        manifests = render(merged(PLAIN, {"test": PROBE}))
        probe = manifests["Pod", "r-portcullis-probe"]["spec"]
        for pod in [container(manifests)[0], probe]:
            security = pod["securityContext"]
            self.assertEqual((security["runAsNonRoot"], security["runAsUser"]), (True, 65532))
            self.assertEqual(security["seccompProfile"], {"type": "RuntimeDefault"})
            self.assertIs(pod["automountServiceAccountToken"], False)
            [only] = pod["containers"]
            self.assertEqual(only["securityContext"], {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            })

    def test_the_grace_period_covers_sleep_and_drain(self):
        values = {"preStopSleepSeconds": 7, "config": {"limits": {"drain_timeout_seconds": 600}}}
        pod, gateway = container(render(merged(PLAIN, values)))
        self.assertGreater(pod["terminationGracePeriodSeconds"], 607)
        self.assertEqual(gateway["lifecycle"]["preStop"]["sleep"]["seconds"], 7)
        pod, _ = container(render(PLAIN))
        self.assertGreater(pod["terminationGracePeriodSeconds"], 35)

    def test_secrets_reach_the_gateway_as_files_and_stay_out_of_the_config_map(self):
        values = MATRIX["secrets of the release"]
        manifests = render(merged(PLAIN, values))
        pod, gateway = container(manifests)
        path = "/etc/portcullis/secrets/identity.headers"
        self.assertEqual(gateway["env"], [
            {"name": "PORTCULLIS_IDENTITY_HEADERS_FILE", "value": path}])
        [volume] = [one for one in pod["volumes"] if one["name"] == "secrets"]
        self.assertIn(("Secret", volume["secret"]["secretName"]), manifests)
        self.assertNotIn("Authorization", manifests["ConfigMap", "r-portcullis"]["data"].popitem()[1])

    def test_a_new_configuration_rolls_the_pods(self):
        def sums(values):
            template = render(merged(PLAIN, values))["Deployment", "r-portcullis"]["spec"]["template"]
            return template["metadata"]["annotations"]
        self.assertEqual(sums({}), sums({"replicas": 3}))
        self.assertNotEqual(sums({}), sums({"config": {"server_id": "s-1"}}))
        self.assertNotEqual(sums({}), sums(MATRIX["secrets of the release"]))

    def test_services_find_the_gateway_and_not_the_probe(self):
        manifests = render(merged(PLAIN, MATRIX["one of everything"]))
        labels = manifests["Deployment", "r-portcullis"]["spec"]["template"]["metadata"]["labels"]
        probe = manifests["Pod", "r-portcullis-probe"]["metadata"]["labels"]
        for name in ["r-portcullis", "r-portcullis-metrics"]:
            selector = manifests["Service", name]["spec"]["selector"].items()
            self.assertLessEqual(selector, labels.items())
            self.assertFalse(selector <= probe.items())

    def test_the_network_policy_lets_the_probe_in(self):
        manifests = render(merged(PLAIN, MATRIX["one of everything"]))
        ssh = manifests["NetworkPolicy", "r-portcullis"]["spec"]["ingress"][0]
        self.assertEqual(ssh["ports"], [{"port": "ssh"}])
        [selector] = [one["podSelector"]["matchLabels"] for one in ssh["from"] if "podSelector" in one]
        probe = manifests["Pod", "r-portcullis-probe"]["metadata"]["labels"]
        self.assertLessEqual(selector.items(), probe.items())

    def test_the_probe_asks_for_what_the_values_say(self):
        for method, option in [("password", "--password-file"), ("identity", "--identity")]:
            probe = {**PROBE, "method": method, "directory": "/in/a b+c"}
            manifests = render(merged(PLAIN, {"test": probe, "service": {"port": 2022}}))
            [container] = manifests["Pod", "r-portcullis-probe"]["spec"]["containers"]
            self.assertEqual(container["args"], [
                "probe", "sftp://ann%40example.com@r-portcullis:2022/in/a%20b%2Bc",
                "--host-key-fingerprint", FINGERPRINT,
                option, f"/etc/portcullis/probe/{method}",
            ])

    def test_the_gateway_reads_the_rendered_configuration(self):
        binary = os.environ.get("PORTCULLIS", ROOT / "target/release/portcullis")
        if not os.access(binary, os.X_OK):
            self.skipTest(f"{binary} is not built")
        values = merged(PLAIN, {"config": {
            "server_id": "s-0123456789abcdef0",
            "log": {"filter": ""},
            "sftp": {"banner": 'Müller & "Söhne"\n<ok>'},
            "storage": {"path_style": True, "access_key_id": "AKIDEXAMPLE"},
            "limits": {"connections_max": 1_000_000, "part_bytes": "16MiB",
                       "read_ahead_per_handle_bytes_max": 8_388_608},
        }, "secrets": {"values": {
            "identity.headers": "Authorization: Bearer x\nX-Team: files",
            "storage.secret_access_key": "é\n",
        }}})
        manifests = render(values)
        with tempfile.TemporaryDirectory() as folder:
            def here(text):
                for mounted in ["host-keys", "secrets"]:
                    text = text.replace(f"/etc/portcullis/{mounted}", folder)
                return text
            key, config = Path(folder, "host_key"), Path(folder, "portcullis.toml")
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
            config.write_text(here(manifests["ConfigMap", "r-portcullis"]["data"][config.name]))
            for name, value in manifests["Secret", "r-portcullis-settings"]["data"].items():
                Path(folder, name).write_bytes(base64.b64decode(value))
            variables = {one["name"]: here(one["value"]) for one in container(manifests)[1]["env"]}
            checked = subprocess.run([binary, "check-config", "--config", config], env=variables,
                                     capture_output=True, text=True)
        self.assertEqual(checked.returncode, 0, checked.stderr)
        self.assertIn("configuration is good", checked.stdout)
        self.assertIn("ssh on 0.0.0.0:2222 · admin 0.0.0.0:9090", checked.stdout)


class Documents(unittest.TestCase):
    def test_they_are_up_to_date(self):
        remedy = "run tests/chart/generate.py"
        self.assertEqual((CHART / "README.md").read_text(), generate.readme(), remedy)
        self.assertEqual((CHART / "values.schema.json").read_text(), generate.schema(), remedy)

    def test_every_value_is_described(self):
        text = (CHART / "values.yaml").read_text()
        described = {path for path, _ in generate.rows(text)}

        def leaves(value, path=()):
            if path in described or not isinstance(value, dict):
                return [path]
            return [leaf for key in value for leaf in leaves(value[key], path + (key,))]
        self.assertEqual(set(leaves(yaml.safe_load(text))) - described, set())


if __name__ == "__main__":
    unittest.main()
