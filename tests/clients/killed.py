#!/usr/bin/env python3
"""Kills the gateway at random moments, with SIGKILL, while a client writes.

    python3 tests/clients/killed.py [--rounds 12] [--seed N] [--binary PATH]

The S3 outlives it. After each death an object is what it was before or what it was to become, and
the latter if CLOSE was answered; an upload of which the beginning may be kept is also allowed to
be that, with its mark. Then a new gateway serves it, which finishes what was recorded of uploads
(`sftp.partial_state`), and the client goes on. In some rounds the gateway dies when parts of a large
upload are in S3: there the beginning must be kept, and OpenSSH's `reput` completes it. Part of `./test.sh`;
its long form has 100 rounds.
"""

import argparse
import os
import pathlib
import random
import signal
import sys
import tempfile
import threading
import time

import paramiko
from botocore.exceptions import ClientError

from processes import Failed, Server, free_port, run
from seaweed import s3_client

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
# Below and above what is rewritten as a whole, and several parts.
SIZES = (1_000_000, 6_000_000, 21_000_000)
# What is appended: into the last part, another part, several.
MORE = (3_000, 7_000_000, 19_000_000)
# From when the client is in: within its requests, its bytes, and what S3 is asked at the end.
MOMENTS_MAX = (0.02, 0.1, 0.5)


class Gateway:
    """Started, killed and started again, on one port and one state."""

    def __init__(self, binary, directory, s3_port):
        self.binary, self.directory = binary, directory
        self.port = free_port()
        self.key = directory / "id"
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key])
        public = self.key.with_suffix(".pub").read_text().strip()
        (directory / "users.toml").write_text(
            f'[users.ann]\npublic_keys = ["{public}"]\nmappings = [\n'
            '  { entry = "/whole", target = "/killed/whole" },\n'
            '  { entry = "/kept", target = "/killed/kept", partial_uploads = "keep" },\n]\n'
        )
        (directory / "state").mkdir()
        self.config = directory / "portcullis.toml"
        self.config.write_text(
            f'listen = "127.0.0.1:{self.port}"\nstate_directory = "{directory}/state"\n'
            f'[identity]\nprovider = "static"\nusers_file = "{directory}/users.toml"\n'
            f'[storage]\nendpoint = "http://127.0.0.1:{s3_port}"\npath_style = true\n'
            'access_key_id = "AK"\nsecret_access_key = "SK"\n[admin]\nlisten = "off"\n'
            f'[sftp]\npartial_state = "{directory}/records"\n'
        )
        self.lives = 0
        self.server = None

    def start(self):
        self.lives += 1
        arguments = [self.binary, "serve", "--config", self.config]
        self.server = Server(f"life-{self.lives}", arguments, self.directory)
        self.server.until(self.connects)

    def connects(self):
        try:
            self.client().close()
        except (OSError, paramiko.SSHException):
            return False
        return True

    def client(self):
        client = paramiko.SSHClient()
        client.set_missing_host_key_policy(paramiko.MissingHostKeyPolicy())
        client.connect("127.0.0.1", self.port, "ann", key_filename=str(self.key),
                       allow_agent=False, look_for_keys=False)
        return client

    def sftp(self, command):
        """Runs one command of OpenSSH's client."""
        batch = self.directory / "batch"
        batch.write_text(command + "\n")
        run(["sftp", "-q", "-b", batch, "-P", self.port, "-i", self.key,
             "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
             "-o", "IdentitiesOnly=yes", "ann@127.0.0.1"])

    def records(self):
        return (self.directory / "records").glob("*.*.json")

    def kill(self):
        self.server.process.send_signal(signal.SIGKILL)
        self.server.process.wait()


def upload(sftp, path, old, draw):
    """A new file, or one in the place of another."""
    body = draw.randbytes(draw.choice(SIZES))
    with sftp.open(path, "wb") as file:
        file.set_pipelined(True)
        file.write(body)
    return body


def append(sftp, path, old, draw):
    with sftp.open(path, "ab") as file:
        file.set_pipelined(True)
        file.write(draw.randbytes(draw.choice(MORE)))


def resume(sftp, path, old, draw):
    """The rest of a file of which the beginning was kept."""
    append(sftp, path, old, draw)


def edit(sftp, path, old, draw):
    with sftp.open(path, "r+b") as file:
        file.set_pipelined(True)
        for at, piece in pieces(old, draw):
            file.seek(at)
            file.write(piece)


def pieces(old, draw):
    """What an edit writes where: in one place, or in several parts."""
    for _ in range(draw.choice((1, 3))):
        yield draw.randrange(max(len(old), 1)), draw.randbytes(50_000)


def cut(sftp, path, old, draw):
    sftp.truncate(path, draw.randrange(len(old) + 1))


OPERATIONS = (upload, append, resume, edit, upload, cut)


def expected(operation, old, draw):
    """What the same draws make of the old bytes."""
    if operation is upload:
        return draw.randbytes(draw.choice(SIZES))
    if operation in (append, resume):
        return old + draw.randbytes(draw.choice(MORE))
    if operation is cut:
        return old[: draw.randrange(len(old) + 1)]
    new = bytearray(old)
    for at, piece in pieces(old, draw):
        new[at : at + len(piece)] = piece
    return bytes(new)


def stored(s3, key):
    """The bytes of an object and whether it is marked as partial; nothing where there is none."""
    try:
        answer = s3.get_object(Bucket="killed", Key=key)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return None, False
        raise
    return answer["Body"].read(), "portcullis-partial" in answer["Metadata"]


def round_of(gateway, s3, number, draw):
    """One death; returns what the client and S3 say of it."""
    operation = OPERATIONS[number % len(OPERATIONS)]
    folder = "kept" if operation is resume else draw.choice(("whole", "kept"))
    marked = {"portcullis-partial": "1"} if operation is resume else {}
    key, old = f"{folder}/{number}", None
    if operation is not upload or draw.random() < 0.5:
        old = draw.randbytes(draw.choice(SIZES))
        s3.put_object(Bucket="killed", Key=key, Body=old, Metadata=marked)
    seed = draw.getrandbits(64)
    new = expected(operation, old or b"", random.Random(seed))
    outcome, entered = [], threading.Event()

    def act():
        try:
            client = gateway.client()
            entered.set()
            try:
                operation(client.open_sftp(), f"/{key}", old or b"", random.Random(seed))
                outcome.append("acknowledged")
            finally:
                client.close()
        except (OSError, EOFError, paramiko.SSHException) as error:
            outcome.append(f"failed: {error!r}")

    acting = threading.Thread(target=act)
    acting.start()
    entered.wait(30)
    time.sleep(draw.uniform(0, draw.choice(MOMENTS_MAX)))
    gateway.kill()
    acting.join(60)
    if acting.is_alive():
        raise Failed(f"round {number}: {operation.__name__} hangs after the gateway's death")
    body, partial = stored(s3, key)
    says = f"round {number}, {operation.__name__} of /{key}, {outcome[0]}"
    if outcome[0] == "acknowledged":
        if body != new or partial:
            raise Failed(f"{says}: the object is not what was acknowledged")
    elif partial:
        # S3 was told that it is a beginning; it may not be more than that.
        if operation not in (upload, resume) or folder != "kept" or body not in (old, new[: len(body)]):
            raise Failed(f"{says}: a partial object is there that is no beginning")
    elif body not in (old, new):
        size = None if body is None else len(body)
        raise Failed(f"{says}: {size} bytes are there, neither the old file nor the new one")
    gateway.start()
    body = recovered(gateway, s3, key, (body, partial), new, says)
    again(gateway, s3, key, body)
    return operation.__name__, outcome[0].split(":")[0], body == new


def recovered(gateway, s3, key, before, new, says):
    """What stands there once the next gateway has looked at its records: the same, or more of it."""
    client = gateway.client()
    try:
        client.open_sftp().stat(f"/{key}")
    except FileNotFoundError:
        pass
    finally:
        client.close()
    body, partial = stored(s3, key)
    if (body, partial) == before:
        return body
    longer = before[0] is None or (before[1] and len(body) > len(before[0]))
    if not (key.startswith("kept/") and partial and longer and body == new[: len(body)]):
        size = None if body is None else len(body)
        raise Failed(f"{says}: {size} bytes are there after the restart, which are no beginning")
    return body


def resumed(gateway, s3, number, draw):
    """The gateway dies in the middle of a large upload, and the client resumes it."""
    key, body = f"kept/resumed-{number}", draw.randbytes(30_000_000)
    sent = draw.randrange(9_000_000, 29_000_000)
    client = gateway.client()
    file = client.open_sftp().open(f"/{key}", "wb")
    file.set_pipelined(True)
    file.write(body[:sent])
    parts = sent // 8_388_608
    for _ in range(600):
        uploads = s3.list_multipart_uploads(Bucket="killed").get("Uploads", [])
        mine = [upload for upload in uploads if upload["Key"] == key]
        if mine and parts_of(s3, key, mine[0]["UploadId"]) >= parts:
            break
        time.sleep(0.1)
    else:
        raise Failed(f"/{key}: {parts} parts were never stored")
    gateway.kill()
    client.close()
    gateway.start()
    kept = recovered(gateway, s3, key, (None, False), body, f"resumed round {number}")
    if kept is None or len(kept) != parts * 8_388_608:
        size = None if kept is None else len(kept)
        raise Failed(f"/{key}: {parts} parts had arrived, and {size} bytes were kept")
    if any(gateway.records()):
        raise Failed(f"/{key}: a record is left: {list(gateway.records())}")
    local = gateway.directory / "whole"
    local.write_bytes(body)
    gateway.sftp(f"reput {local} /{key}")
    if stored(s3, key) != (body, False):
        raise Failed(f"/{key}: it is not whole after reput, or still marked")


def parts_of(s3, key, upload):
    answer = s3.list_parts(Bucket="killed", Key=key, UploadId=upload)
    return len(answer.get("Parts", []))


def again(gateway, s3, key, body):
    """The next gateway shows the same, and takes the whole file."""
    client = gateway.client()
    sftp = client.open_sftp()
    if body is not None:
        with sftp.open(f"/{key}", "rb") as file:
            file.prefetch(len(body))
            if file.read() != body:
                raise Failed(f"/{key}: SFTP shows other bytes than S3")
    with sftp.open(f"/{key}", "wb") as file:
        file.write(b"once more")
    client.close()
    if stored(s3, key) != (b"once more", False):
        raise Failed(f"/{key}: it could not be written again")


def main():
    parser = argparse.ArgumentParser(description="kill -9, at random moments")
    parser.add_argument("--binary", default=REPOSITORY / "target/release/portcullis")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    options = parser.parse_args()
    binary = pathlib.Path(options.binary).resolve()
    draw = random.Random(options.seed)
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="portcullis-killed-") as name:
        directory, port = pathlib.Path(name), free_port()
        embedded = [binary.with_name("embedded-s3"), "--listen", f"127.0.0.1:{port}",
                    "--bucket", "killed", "--access-key", "AK", "--secret-key", "SK"]
        with Server("s3", embedded, directory):
            s3 = s3_client(f"http://127.0.0.1:{port}", "AK", "SK")
            gateway = Gateway(binary, directory, port)
            gateway.start()
            try:
                seen = [round_of(gateway, s3, number, draw) for number in range(options.rounds)]
                for number in range(max(1, options.rounds // 12)):
                    resumed(gateway, s3, number, draw)
            finally:
                gateway.kill()
    died = sum(1 for _, outcome, _ in seen if outcome == "failed")
    for row in sorted(set(seen)):
        print(f"{seen.count(row):4}  {row[0]}, {row[1]}, {'new' if row[2] else 'old'} object")
    # Where nothing is ever cut off, nothing is tried.
    if died == 0 and options.rounds >= 12:
        raise Failed("no operation was cut off: the moments are too late")
    print(f"{len(seen)} deaths, {died} in the middle of an operation: no object is torn")


if __name__ == "__main__":
    sys.exit(main())
