#!/usr/bin/env python3
"""The chart: lint, a matrix of values, refusals, every manifest against Kubernetes' schemas, and
what it renders run as processes of this machine: the gateway, its probes, and `helm test`. Nothing
is installed: that would need a cluster.

    python3 tests/chart/test_chart.py [--binary target/release/portcullis]

Without the binary, or without `embedded-s3` beside it, what needs it is skipped; with CI=1 it fails.
"""

import argparse
import base64
import contextlib
import os
import subprocess
import sys
import tempfile
import tomllib
import unittest
from pathlib import Path

import helm_python as helm
import kubernetes_validate
import yaml

sys.path.insert(0, str(Path(__file__).parent))
import generate
from node import Node, listening, status

ROOT, CHART = generate.ROOT, generate.CHART
KUBERNETES = ["1.31", "1.34", "1.37"]
DIGEST = "sha256:" + "0" * 64
FINGERPRINT = "SHA256:" + "A" * 43
# From the command line.
BINARY = None

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
    "open": {"networkPolicy": {"enabled": False}},
    "several providers": {
        "config": {
            "identity": {"providers": ["staff", "partners", "old"], "roles": "gateway"},
            "provider": {
                "staff": {"user_suffix": "@@staff", "total_timeout_ms": 5_000},
                "partners": {"provider": "static", "users_file": "/users/users.toml"},
                "old": {"url": "https://auth.example.com/old", "event": "transfer-family",
                        "listen": "0.0.0.0:2223"},
            },
            "role": {"reader": {"arn": "arn:aws:iam::1:role/r", "access_key_id": "AKIDEXAMPLE"}},
        },
        "secrets": {"values": {"provider.old.headers": "Authorization: B x",
                               "role.reader.secret_access_key": "secret"}},
        "service": {"type": "LoadBalancer", "providerPorts": {"2223": {"port": 8022,
                                                                       "nodePort": 30023}}},
        "networkPolicy": {"enabled": True},
        "test": {**PROBE, "port": 8022},
    },
    "tables of every kind": {
        "config": {
            "identity": {"providers": ["staff", "rest"]},
            "provider": {"staff": {}, "rest": {}},
            "listener": {"inside": {"listen": "0.0.0.0:2224", "providers": ["staff"]}},
            "store": {"old": {"buckets": ["old"], "endpoint": "https://s3.example.com"}},
            "api_key": {"reader": {"access_key_id": "AKIDEXAMPLE", "scope": "read"}},
        },
        "secrets": {"values": {"api_key.reader.secret_access_key": "secret"}},
    },
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


def providers(tables, **identity):
    return {"identity": {"providers": list(tables), **identity}, "provider": tables}


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

    def test_the_configuration_is_toml_with_every_kind_of_table(self):
        for name, values in MATRIX.items():
            [configuration] = [text for (kind, _), one in render(merged(PLAIN, values)).items()
                               if kind == "ConfigMap"
                               for file, text in one["data"].items() if file.endswith(".toml")]
            with self.subTest(name):
                read = tomllib.loads(configuration)
                for table in ["provider", "role", "listener", "store", "api_key"]:
                    given = values.get("config", {}).get(table, {})
                    self.assertEqual(set(read.get(table, {})), set(given))
                    for one, settings in given.items():
                        self.assertEqual(read[table][one] | settings, read[table][one])

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
            ({"config": {"identity": {"provider": "lambda"}}}, "config.identity.function is empty"),
            ({"config": {"identity": {"provider": "static"}}}, "config.identity.users_file is empty"),
            ({"secrets": {"existingSecret": "s"}}, "secrets.settings is empty"),
            ({"secrets": {"settings": ["identity.headers"]}}, "secrets.existingSecret"),
            ({"secrets": {"existingSecret": "s", "values": {"identity.headers": "A: b"}}},
             "choose one"),
            ({"test": {"enabled": True}}, "test.hostKeyFingerprint"),
            ({"config": {"identity": {"providers": ["a"]}}}, "must list each table"),
            ({"config": {"provider": {"a": {}}}}, "must list each table"),
            ({"config": providers({"a": {"url": ""}}, url="")}, "config.provider.a.url is empty"),
            ({"config": providers({"a": {"provider": "lambda"}})}, "provider.a.function is empty"),
            ({"config": providers({"a": {"listen": "0.0.0.0:9090"}})}, "9090 is already"),
            ({"config": providers({"a": {"listen": "0.0.0.0:9091"}})}, "9091 is already"),
            ({"config": providers({"a": {"listen": "[::]:22"}})}, "port 22 of the Service"),
            ({"config": {"listener": {"x": {"listen": "[::]:9090"}}}}, "listener.x.listen: 9090 is"),
            ({"config": {"listener": {"x": {"listen": "[::]:9091"}}}}, "listener.x.listen: 9091 is"),
            ({"service": {"providerPorts": {"2223": {"port": 22}}}}, "providerPorts has 2223"),
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
            ({"config": {"admin": {"probe_listen": "off"}}}, "probe_listen", "not allowed"),
            ({"config": {"storage": {"secret_access_key": "x"}}}, "secret_access_key"),
            ({"secrets": {"values": {"storage.region": "x"}}}, "storage.region", "not allowed"),
            ({"secrets": {"values": {"provider.a.url": "x"}}}, "provider.a.url", "not allowed"),
            ({"config": {"identity": {"listen": "0.0.0.0:23"}}}, "listen", "not allowed"),
            ({"config": {"provider": {"a": {"listen": "127.0.0.1:23"}}}}, "listen", "pattern"),
            ({"config": {"provider": {"a": {"roles": "gateway"}}}}, "roles", "not allowed"),
            ({"config": {"provider": {"A": {}}}}, "config/provider", "not allowed"),
            ({"config": {"role": {"a": {"secret_access_key": "x"}}}}, "secret_access_key"),
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

    def test_memory_follows_from_the_configuration(self):
        def memory(values):
            _, gateway = container(render(merged(PLAIN, values)))
            found = gateway["resources"]
            return found["requests"]["memory"], found["limits"]["memory"]
        self.assertEqual(memory({}), ("448Mi", "1011Mi"))
        self.assertEqual(memory({"config": {"limits": {
            "connections_max": 400, "upload_memory_bytes_max": "1GiB",
            "session_memory_bytes_max": 33_554_432}}}), ("1248Mi", "1361Mi"))
        self.assertEqual(memory({"resources": {"limits": {"memory": "1.5Gi"}}}), ("448Mi", "1.5Gi"))
        self.assertEqual(memory({"resources": {"limits": {"memory": 2_000_000_000, "cpu": 2}}}),
                         ("448Mi", 2_000_000_000))
        self.assertEqual(memory({"resources": {"requests": {"memory": "2Gi"}}}), ("2Gi", "2Gi"))

    def test_a_limit_too_small_for_the_configuration_is_refused(self):
        little = {"resources": {"limits": {"memory": "640Mi"}}}
        self.refused(merged(PLAIN, little), "resources.limits.memory is 640Mi", "at least 1011Mi",
                     "connections_max")
        render(merged(PLAIN, {**little, "config": {"limits": {"connections_max": 600}}}))
        self.refused(merged(PLAIN, {**little, "config": {"limits": {"connections_max": 700}}}),
                     "allowed: at least 645Mi")
        self.refused(merged(PLAIN, {"resources": {"limits": {"memory": "lots"}}}), "not a quantity")

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

    def test_providers_have_tables_secrets_and_ports_of_their_own(self):
        manifests = render(merged(PLAIN, MATRIX["several providers"]))
        config = manifests["ConfigMap", "r-portcullis"]["data"]["portcullis.toml"]
        self.assertIn('\nproviders = ["staff","partners","old"]\n', config)
        staff = '[provider.staff]\ntotal_timeout_ms = 5000\nuser_suffix = "@@staff"\n'
        self.assertIn(f"\n{staff}", config)
        self.assertIn('\n[role.reader]\naccess_key_id = "AKIDEXAMPLE"\n', config)
        self.assertNotIn("[provider]", config)
        _, gateway = container(manifests)
        self.assertEqual([one["name"] for one in gateway["env"]], [
            "PORTCULLIS_PROVIDER_OLD_HEADERS_FILE",
            "PORTCULLIS_ROLE_READER_SECRET_ACCESS_KEY_FILE"])
        self.assertIn({"name": "ssh-2223", "containerPort": 2223}, gateway["ports"])
        self.assertEqual(manifests["Service", "r-portcullis"]["spec"]["ports"], [
            {"name": "ssh", "port": 22, "targetPort": "ssh"},
            {"name": "ssh-2223", "port": 8022, "targetPort": "ssh-2223", "nodePort": 30023}])
        policy = manifests["NetworkPolicy", "r-portcullis"]["spec"]["ingress"][0]
        self.assertEqual(policy["ports"], [{"port": "ssh"}, {"port": "ssh-2223"}])
        [probe] = manifests["Pod", "r-portcullis-probe"]["spec"]["containers"]
        self.assertIn("@r-portcullis:8022/", probe["args"][1])

    def test_sections_stand_there_once(self):
        manifests = render(merged(PLAIN, {
            "config": {"admin": {"access_key_id": "AKIDEXAMPLE"}},
            "secrets": {"values": {"admin.secret_access_key": "secret"}},
        }))
        config = manifests["ConfigMap", "r-portcullis"]["data"]["portcullis.toml"]
        admin = '[admin]\naccess_key_id = "AKIDEXAMPLE"\nlisten = "0.0.0.0:9090"\n' \
            'probe_listen = "0.0.0.0:9091"\n'
        self.assertEqual(config.count("[admin]"), 1)
        self.assertIn(f"\n{admin}", config)

    def test_providers_may_share_a_port(self):
        shared = {"listen": "0.0.0.0:2223"}
        config = providers({"a": {**shared, "user_suffix": "@a"}, "b": shared, "c": {}})
        manifests = render(merged(PLAIN, {"config": config}))
        self.assertEqual([one["containerPort"] for one in container(manifests)[1]["ports"]],
                         [2222, 2223, 9090, 9091])

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

    def test_the_admin_port_is_closed_until_somebody_is_named(self):
        def ingress(values):
            policy = render(merged(PLAIN, values))["NetworkPolicy", "r-portcullis"]["spec"]
            self.assertEqual(policy["policyTypes"], ["Ingress"])
            self.assertNotIn("egress", policy)
            return policy["ingress"]
        everybody = [{"ports": [{"port": "ssh"}]}, {"ports": [{"port": "probes"}]}]
        self.assertEqual(ingress({}), everybody)
        prometheus = {"ports": [{"port": "admin"}], "from": [SELECTOR]}
        self.assertEqual(ingress({"networkPolicy": {"adminFrom": [SELECTOR]}}),
                         [*everybody, prometheus])
        off = render(merged(PLAIN, MATRIX["open"]))
        self.assertNotIn(("NetworkPolicy", "r-portcullis"), off)

    def test_the_notes_say_who_may_scrape(self):
        def notes(values):
            files = helm.Chart.load(CHART).render(merged(PLAIN, values), name="r", namespace="sftp")
            [text] = [text for path, text in files.items() if path.endswith("NOTES.txt")]
            return text
        self.assertIn("networkPolicy.adminFrom=", notes({}))
        self.assertIn("Prometheus cannot scrape", notes({"metrics": {"service": {"enabled": True}}}))
        for values in [MATRIX["open"], {"networkPolicy": {"adminFrom": [SELECTOR]}}]:
            self.assertNotIn("adminFrom", notes(values))

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


class Running(unittest.TestCase):
    """What is rendered, run by the gateway's own binary."""

    def setUp(self):
        built = [ROOT / f"target/{profile}/portcullis" for profile in ["release", "debug"]]
        self.binary = found(*([BINARY] if BINARY else built))
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        key = self.folder / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        shown = subprocess.run(["ssh-keygen", "-lf", key], check=True, capture_output=True)
        self.fingerprint = shown.stdout.decode().split()[1]
        self.secrets = {"host-keys": {"host_key": key.read_bytes()}}

    def start(self, command, **options):
        process, url = listening(command, **options)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return url

    def node(self, values):
        s3 = found(self.binary.with_name("embedded-s3"))
        endpoint = self.start([s3, "--listen", "127.0.0.1:0", "--bucket", "my-bucket",
                               "--access-key", "AKIDEXAMPLE", "--secret-key", "é secret"])
        asked = self.start([sys.executable, "idp.py", "--listen", "127.0.0.1:0"],
                           cwd=ROOT / "idp-examples/python")
        storage = {"endpoint": endpoint, "path_style": True, "access_key_id": "AKIDEXAMPLE"}
        manifests = render(merged({
            "hostKeys": {"existingSecret": "host-keys"},
            "config": {"identity": {"url": asked}, "storage": storage},
            "secrets": {"values": {"storage.secret_access_key": "é secret\n"}},
            "metrics": {"service": {"enabled": True}},
            "test": {"enabled": True, "user": "bob", "existingSecret": "bob",
                     "hostKeyFingerprint": self.fingerprint},
        }, values))
        secrets = {**self.secrets, "bob": {"password": b"bob-secret"}}
        return Node(manifests, secrets, self.binary, self.folder)

    @contextlib.contextmanager
    def gateway(self, node):
        """Runs the gateway until the end of the block; then it has to end as a Pod does."""
        process = node.start(node.gateway)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        node.wait_until_ready(process)
        yield
        process.terminate()
        output, _ = process.communicate(timeout=node.gateway["terminationGracePeriodSeconds"])
        self.assertEqual(process.returncode, 0, output)

    def test_helm_test_logs_in_and_moves_a_file(self):
        node = self.node({})
        probe = node.manifests["Pod", "r-portcullis-probe"]["spec"]
        with self.gateway(node):
            [gateway] = node.gateway["containers"]
            self.assertEqual(node.get(gateway["livenessProbe"]), 200)
            # Its port is open to everybody, so it shows nothing else.
            probes = node.ports[node.container_port("probes")]
            self.assertEqual(status(f"http://127.0.0.1:{probes}/metrics"), 404)
            metrics = node.address(node.manifests["Service", "r-portcullis-metrics"], 9090)
            self.assertEqual(status(f"http://{metrics}/metrics"), 200)
            self.assertEqual(node.run(probe)[0], 0)
            node.secrets["bob"] = {"password": b"wrong"}
            code, output = node.run(probe)
            self.assertEqual(code, 13, output)
            self.assertIn("login", output)

    def test_helm_test_reaches_the_port_of_a_provider(self):
        # Asked on the main port, the static provider knows nobody called bob.
        users = self.folder / "users.toml"
        users.write_text("[users]\n")
        node = self.node({
            "config": providers({
                "old": {"event": "transfer-family", "listen": "0.0.0.0:2223"},
                "rest": {"provider": "static", "users_file": str(users)},
            }),
            "service": {"providerPorts": {"2223": {"port": 8022}}},
            "test": {"port": 8022},
        })
        with self.gateway(node):
            probe = node.manifests["Pod", "r-portcullis-probe"]["spec"]
            code, output = node.run(probe)
            self.assertEqual(code, 0, output)
            [asking] = probe["containers"]
            asking["args"] = [one.replace(":8022/", ":22/") for one in asking["args"]]
            self.assertEqual(node.run(probe)[0], 13)

    def test_the_gateway_reads_the_rendered_configuration(self):
        node = Node(render(merged(PLAIN, {"config": {
            **providers({"staff": {"user_suffix": "@@staff", "total_timeout_ms": 5_000},
                         "old": {"listen": "0.0.0.0:2223", "proxy_protocol": "ignore"}}),
            "proxy_protocol": "required",
            "trusted_networks": ["10.0.0.0/20", "2001:db8::/32"],
            "server_id": "s-0123456789abcdef0",
            "log": {"filter": ""},
            "sftp": {"banner": 'Müller & "Söhne"\n<ok>'},
            "storage": {"path_style": True, "access_key_id": "AKIDEXAMPLE"},
            "limits": {"connections_max": 700, "upload_rate_bytes_min": 1_000_000,
                       "part_bytes": "16MiB", "download_memory_bytes_max": "32MiB",
                       "read_ahead_per_handle_bytes_max": 8_388_608},
        }, "secrets": {"values": {
            "admin.token": "0123456789abcdef0123456789abcdef",
            "identity.headers": "Authorization: Bearer x\nX-Team: files",
            "provider.old.headers": "Authorization: Bearer y",
            "storage.secret_access_key": "é\n",
        }}})), self.secrets, self.binary, self.folder)
        pod = node.gateway
        pod["containers"][0]["args"][0] = "check-config"
        code, output = node.run(pod)
        self.assertEqual(code, 0, output)
        self.assertIn("configuration is good", output)
        # Chart and gateway make the same sum.
        limit = pod["containers"][0]["resources"]["limits"]["memory"]
        self.assertIn(f"memory: at least {limit.replace('Mi', ' MiB')}: ", output)
        self.assertIn(f"ssh on 127.0.0.1:{node.ports[2222]}, 127.0.0.1:{node.ports[2223]}"
                      f" · admin 127.0.0.1:{node.ports[9090]}"
                      f" · health checks 127.0.0.1:{node.ports[9091]}", output)


def found(*paths):
    """Returns the first of the programs that can be run."""
    for path in paths:
        if os.access(path, os.X_OK):
            return path.resolve()
    missing = f"not built: {' or '.join(map(str, paths))}"
    if os.environ.get("CI") == "1":
        raise AssertionError(missing)
    print(f"skipped: {missing}", file=sys.stderr)
    raise unittest.SkipTest(missing)


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
    parser = argparse.ArgumentParser(description="The chart's checks", add_help=False)
    parser.add_argument("--binary", type=Path, help="the gateway, with embedded-s3 beside it")
    options, rest = parser.parse_known_args()
    BINARY = options.binary
    unittest.main(argv=[sys.argv[0], *rest])
