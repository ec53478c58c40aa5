"""The two set-ups that clients are pointed at: `quickstart`, and `serve` over SeaweedFS."""

import contextlib
import dataclasses
import importlib.util
import json
import pathlib

import paramiko

from processes import Server, answers, free_port, run
from seaweed import s3_client, seaweed

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
WEBHOOK = REPOSITORY / "idp-examples/python/idp.py"
RATES = b"currency,per_euro\nUSD,1.0812\nGBP,0.8541\nJPY,162.35\n"
MAPPINGS = [
    {"entry": "/pics", "target": "/clients/some/pics"},
    {"entry": "/out", "target": "/clients/out", "access": "read"},
    {"entry": "/kept", "target": "/clients/kept", "partialUploads": "keep"},
    {"entry": "/rates.csv", "target": "/clients/rates/2026.csv", "type": "file"},
]


@dataclasses.dataclass
class Setup:
    """A gateway under test, and the storage behind it as S3 shows it."""

    name: str
    port: int
    user: str
    password: str
    known_hosts: pathlib.Path
    s3: object
    bucket: str
    prefix: str
    server: Server
    key: pathlib.Path | None = None
    seaweed: bool = False
    keeps_times: bool = False
    sums: bool = False
    root: str = "/pics"
    directory: pathlib.Path | None = None
    binary: pathlib.Path | None = None
    admin: int | None = None

    def folder(self, name):
        """A fresh local directory for one case."""
        folder = self.directory / name
        folder.mkdir(parents=True)
        return folder

    def objects(self, below):
        """What S3 holds below a path of the client: name to (size, ETag), without markers."""
        prefix = f"{self.prefix}{below.strip('/')}/"
        found = {}
        pages = self.s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=prefix
        )
        for page in pages:
            for row in page.get("Contents", []):
                name = row["Key"].removeprefix(prefix)
                if name and not name.endswith("/"):
                    found[name] = (row["Size"], row["ETag"].strip('"'))
        return found

    def object(self, path):
        """The bytes of one object, by its path below the root."""
        answer = self.s3.get_object(Bucket=self.bucket, Key=self.prefix + path)
        return answer["Body"]

    def put(self, path, body=b""):
        self.s3.put_object(Bucket=self.bucket, Key=self.prefix + path, Body=body)

    def delete(self, path):
        self.s3.delete_object(Bucket=self.bucket, Key=self.prefix + path)


@contextlib.contextmanager
def quickstart(binary, directory):
    """One demo user with a password, S3 in memory."""
    state = directory / "state"
    state.mkdir()
    arguments = [binary, "quickstart", "--listen", "127.0.0.1:0", "--json", "--state", state]
    with Server("quickstart", arguments, directory) as server:
        facts = json.loads(server.line_with('"s3_endpoint"'))
        yield Setup(
            name="quickstart",
            port=int(facts["address"].rsplit(":", 1)[1]),
            user=facts["user"],
            password=facts["password"],
            known_hosts=directory / facts["known_hosts"],
            s3=s3_client(facts["s3_endpoint"], facts["access_key"], facts["secret_key"]),
            bucket="amzn-s3-demo-bucket1",
            prefix="pics/",
            server=server,
            directory=directory,
        )
        finish(server)


@contextlib.contextmanager
def serve(binary, weed, python, directory):
    """A configured gateway, the Python example as identity provider, SeaweedFS as storage."""
    key = directory / "id_ed25519"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "clients", "-f", key])
    users = directory / "users.json"
    users.write_text(json.dumps(people(key.with_suffix(".pub").read_text().strip())))
    with contextlib.ExitStack() as stack:
        endpoint, access_key, secret_key = stack.enter_context(seaweed(weed, directory))
        s3 = s3_client(endpoint, access_key, secret_key)
        s3.create_bucket(Bucket="clients")
        s3.put_object(Bucket="clients", Key="rates/2026.csv", Body=RATES)
        s3.put_object(Bucket="clients", Key="out/report.txt", Body=b"only to be read\n")
        webhook = [python, WEBHOOK, "--listen", "127.0.0.1:0", "--users", users]
        webhook = stack.enter_context(Server("webhook", webhook, directory))
        url = webhook.line_with("listening on ").split()[-1]
        port, admin = free_port(), free_port()
        config = directory / "portcullis.toml"
        config.write_text(
            CONFIG.format(
                port=port,
                admin=admin,
                state=directory / "state",
                url=url,
                endpoint=endpoint,
                access_key=access_key,
                secret_key=secret_key,
                server_id=SERVER_ID,
                admin_access_key=ADMIN_ACCESS_KEY,
                admin_secret_key=ADMIN_SECRET_KEY,
            )
        )
        (directory / "state").mkdir()
        server = Server("serve", [binary, "serve", "--config", config], directory)
        stack.enter_context(server)
        server.until(lambda: answers(f"http://127.0.0.1:{admin}/readyz"))
        known_hosts = directory / "known_hosts"
        scan = run(["ssh-keyscan", "-p", port, "127.0.0.1"])
        known_hosts.write_text(scan.output)
        yield Setup(
            name="serve",
            port=port,
            user="alice",
            password=PASSWORD,
            known_hosts=known_hosts,
            s3=s3,
            bucket="clients",
            prefix="some/pics/",
            server=server,
            key=key,
            seaweed=True,
            sums=True,
            keeps_times=True,
            directory=directory,
            binary=binary,
            admin=admin,
        )
        finish(server)


def finish(server):
    """Stops the gateway as an operator would: it must drain and exit cleanly."""
    status = server.stop()
    if status != 0:
        raise AssertionError(f"{server.name} exited {status} on SIGTERM")
    for secret in (PASSWORD, ADMIN_SECRET_KEY):
        # The quick start prints a password on purpose, and has neither of these.
        if secret in server.text():
            raise AssertionError(f"{server.name} logged a secret, see {server.log}")
    if "panicked" in server.text():
        raise AssertionError(f"{server.name} panicked, see {server.log}")


def people(public_key):
    """users.json: one user of each form of answer."""
    spec = importlib.util.spec_from_file_location("idp", WEBHOOK)
    idp = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(idp)
    known = {"passwordHash": idp.hash_password(PASSWORD), "publicKeys": [public_key]}
    return {
        "alice": {**known, "mappings": MAPPINGS},
        "bob": {
            **known,
            "form": "transfer-family",
            "role": "arn:aws:iam::123456789012:role/transfer-access-role",
            "homeDirectoryType": "LOGICAL",
            "mappings": [{"entry": "/", "target": "/clients/home/${transfer:UserName}"}],
        },
    }


def host_key(known_hosts, port):
    """The host keys as paramiko wants them."""
    keys = paramiko.HostKeys(str(known_hosts))
    return keys.lookup(f"[127.0.0.1]:{port}")


SERVER_ID = "s-0123456789abcdef0"
ADMIN_ACCESS_KEY = "AKIDOPERATOR"
ADMIN_SECRET_KEY = "operator-secret"
PASSWORD = "correct horse battery staple"
CONFIG = """\
listen = "127.0.0.1:{port}"
state_directory = "{state}"
server_id = "{server_id}"

[identity]
url = "{url}"

[storage]
endpoint = "{endpoint}"
path_style = true
access_key_id = "{access_key}"
secret_access_key = "{secret_key}"

[sftp]
mtime = "copy"
list_times = "kept"
exec = "all"

[admin]
listen = "127.0.0.1:{admin}"
access_key_id = "{admin_access_key}"
secret_access_key = "{admin_secret_key}"

[log]
format = "text"
"""
