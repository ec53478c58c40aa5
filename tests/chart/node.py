"""A stand-in for a cluster's node: what a Pod would run, as processes of this machine.

It takes the manifests as they were rendered and gives a container what a kubelet would: its volumes
as folders, its arguments and its environment and nothing else. Two things are different, since no
machine is free for them: a mount path is a folder of `self.folder`, and a port that the container
listens on is a free one of 127.0.0.1. Both are put wherever the manifests name the other.
"""

import base64
import json
import os
import re
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 30


class Node:
    def __init__(self, manifests, secrets, binary, folder):
        """Takes the Secrets that are not of the release as {name: {key: bytes}}."""
        self.manifests, self.binary, self.folder = manifests, binary, Path(folder)
        self.folder.chmod(0o755)  # for other users than this one
        self.secrets = dict(secrets)
        for (kind, name), manifest in manifests.items():
            if kind == "Secret":
                data = manifest["data"].items()
                self.secrets[name] = {key: base64.b64decode(value) for key, value in data}
        # The image has no other program.
        [self.entrypoint] = json.loads(re.search(
            r"^ENTRYPOINT (.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE).group(1))
        [deployment] = [one for (kind, _), one in manifests.items() if kind == "Deployment"]
        self.labels = deployment["spec"]["template"]["metadata"]["labels"]
        self.gateway = deployment["spec"]["template"]["spec"]
        self.ports = {
            one["containerPort"]: free_port() for one in self.gateway["containers"][0]["ports"]
        }

    def start(self, pod):
        """Starts the only container of a Pod."""
        [container] = pod["containers"]
        folders = self.mounted(pod, container)
        assert "command" not in container, "the Dockerfile's ENTRYPOINT is what is tried"
        assert self.entrypoint.endswith(self.binary.name), self.entrypoint
        arguments = [self.here(one, folders) for one in container["args"]]
        variables = {one["name"]: self.here(one["value"], folders)
                     for one in container.get("env", [])}
        return subprocess.Popen([self.binary, *arguments], env=variables, cwd=self.folder,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True)

    def run(self, pod):
        """Runs a Pod to its end; returns the exit status and what it printed."""
        with self.start(pod) as process:
            output, _ = process.communicate(timeout=PATIENCE_SECONDS)
        return process.returncode, output

    def mounted(self, pod, container):
        """Writes the volumes of a container; returns their folders by mount path."""
        volumes = {one["name"]: one for one in pod["volumes"]}
        folders = {}
        for mount in container["volumeMounts"]:
            folder = self.folder / mount["mountPath"].strip("/")
            folder.mkdir(parents=True, exist_ok=True)
            folders[mount["mountPath"]] = str(folder)
        # Now, when all are known: a file may name another.
        for mount in container["volumeMounts"]:
            for name, content in self.files(volumes[mount["name"]]).items():
                path = Path(folders[mount["mountPath"]], name)
                path.unlink(missing_ok=True)
                path.write_bytes(self.here(content.decode(), folders).encode())
                if os.geteuid() == 0:
                    os.chown(path, 0, pod["securityContext"]["fsGroup"])
                path.chmod(0o440)
        return folders

    def files(self, volume):
        if "configMap" in volume:
            data = self.manifests["ConfigMap", volume["configMap"]["name"]]["data"]
            return {name: text.encode() for name, text in data.items()}
        secret = volume["secret"]
        content = self.secrets[secret["secretName"]]
        return {item["path"]: content[item["key"]] for item in secret["items"]}

    def here(self, text, folders):
        for path, folder in folders.items():
            text = text.replace(path, folder)
        for port, free in self.ports.items():
            text = text.replace(f"0.0.0.0:{port}", f"127.0.0.1:{free}")
        for (kind, name), service in self.manifests.items():
            if kind == "Service":
                text = re.sub(rf"@{re.escape(name)}:(\d+)",
                              lambda found: f"@{self.address(service, int(found.group(1)))}", text)
        return text

    def address(self, service, port):
        """Returns where a port of a Service leads to."""
        assert service["spec"]["selector"].items() <= self.labels.items()
        [target] = [one["targetPort"] for one in service["spec"]["ports"] if one["port"] == port]
        return f"127.0.0.1:{self.ports[self.container_port(target)]}"

    def container_port(self, name):
        [port] = [one["containerPort"] for one in self.gateway["containers"][0]["ports"]
                  if one["name"] == name]
        return port

    def get(self, probe):
        """Asks what a kubelet's `httpGet` would; returns the status."""
        port = self.ports[self.container_port(probe["httpGet"]["port"])]
        return status(f"http://127.0.0.1:{port}{probe['httpGet']['path']}")

    def wait_until_ready(self, process):
        probe = self.gateway["containers"][0]["readinessProbe"]
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.get(probe) != 200:
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise AssertionError(f"the gateway does not become ready: {process.stdout.read()}")
            time.sleep(0.05)


def status(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def listening(command, **options):
    """Starts a program that says `listening on URL`; returns it and the URL."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True, **options)
    line = process.stdout.readline()
    if "listening on " not in line:
        process.kill()
        raise AssertionError(f"{command} did not start: {line!r}")
    return process, line.split("listening on ")[1].strip()
