"""What AWS's API costs: many users created, many requests at once, a long listing, and a login.

    cargo build --release --workspace
    python3 tests/bench/transfer_api.py     # with boto3, such as target/venv/bin/python

Users are created twice: kept in files, and in a bucket of the S3 of tests. Requests at once go to
the port for AWS's tools. The long listing is of files that are written beforehand. Logins are those
of OpenSSH's client, one after another; only the processor time of the gateway counts.
"""
import argparse, hashlib, json, os, subprocess, sys, tempfile, threading, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
from botocore.config import Config

import servers
from servers import OPTIONS, Peak, cpu_seconds, free_port, memory_mib, wait_for

SERVER = "s-0123456789abcdef0"
ROLE = "arn:aws:iam::123456789012:role/sftp-user"
KEYS = {"aws_access_key_id": "PORTCULLISADMIN", "aws_secret_access_key": "hazel-7"}


class Gateway:
    def __init__(self, work, name, binary, s3, identity, processes):
        self.ssh, self.port = free_port(), free_port()
        self.state = work / f"state-{name}"
        config = work / f"{name}.toml"
        config.write_text(f"""
listen = "127.0.0.1:{self.ssh}"
state_directory = "{self.state}"
server_id = "{SERVER}"
[identity]
{identity}
[storage]
endpoint = "http://127.0.0.1:{s3}"
path_style = true
access_key_id = "AK"
secret_access_key = "SK"
[admin]
listen = "off"
api_listen = "127.0.0.1:{self.port}"
[api_key.bench]
access_key_id = "{KEYS['aws_access_key_id']}"
secret_access_key = "{KEYS['aws_secret_access_key']}"
scope = "all"
""")
        self.log = work / f"{name}.log"
        process = subprocess.Popen([binary, "serve", "--config", config], stderr=open(self.log, "w"))
        processes.append(process)
        self.pid = process.pid
        wait_for(self.ssh)
        wait_for(self.port)

    def client(self, **more):
        settings = Config(retries={"total_max_attempts": 1}, read_timeout=300, **more)
        return boto3.client("transfer", endpoint_url=f"http://127.0.0.1:{self.port}",
                            region_name="us-east-1", config=settings, **KEYS)

    def login(self, key, user):
        options = [*OPTIONS, "-F", "none", "-P", str(self.ssh), "-i", key, "-b", "-"]
        subprocess.run(["sftp", *options, f"{user}@127.0.0.1"], input="pwd\n", text=True,
                       check=True, capture_output=True)


def created(gateway, users, line):
    """Users with a key each, one request after another."""
    client, cpu, start = gateway.client(), cpu_seconds(gateway.pid), time.monotonic()
    for number in range(users):
        client.create_user(ServerId=SERVER, UserName=f"user-{number}", Role=ROLE,
                           HomeDirectory="/bench", SshPublicKeyBody=line)
    return time.monotonic() - start, cpu_seconds(gateway.pid) - cpu


def at_once(gateway, count):
    """Requests that are sent at the same moment, each on a connection of its own."""
    client, together = gateway.client(max_pool_connections=count), threading.Barrier(count)

    def change(number):
        together.wait()
        try:
            client.update_user(ServerId=SERVER, UserName=f"user-{number}", HomeDirectory="/bench/x")
            return "done"
        except Exception as error:
            return type(error).__name__
    with ThreadPoolExecutor(count) as pool:
        start = time.monotonic()
        outcomes = list(pool.map(change, range(count)))
    took = time.monotonic() - start
    return took, {outcome: outcomes.count(outcome) for outcome in sorted(set(outcomes))}


def written(gateway, users, line):
    """Documents as somebody writes them who has the users in version control."""
    folder = gateway.state / "users" / SERVER
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(users):
        name = f"listed-{number}"
        document = {"UserName": name, "Role": ROLE, "HomeDirectory": "/bench", "SshPublicKeys": [
            {"SshPublicKeyId": "key-" + hashlib.sha256(name.encode()).hexdigest()[:17],
             "SshPublicKeyBody": line, "DateImported": "2026-11-28T00:00:00Z"}]}
        (folder / f"{name}.json").write_text(json.dumps(document))


def listed(gateway, rounds):
    """All pages, several times: memory that grew with the users would grow again."""
    client, peaks, times, found = gateway.client(), [], [], 0
    for _ in range(rounds):
        start, found = time.monotonic(), 0
        with Peak(gateway.pid) as peak:
            for page in client.get_paginator("list_users").paginate(ServerId=SERVER):
                found += len(page["Users"])
        times.append(time.monotonic() - start)
        peaks.append(peak.mib)
    return found, times, peaks


def logged_in(gateway, key, names, before=20):
    for name in names[:before]:
        gateway.login(key, name)
    cpu = cpu_seconds(gateway.pid)
    for name in names[before:]:
        gateway.login(key, name)
    return (cpu_seconds(gateway.pid) - cpu) / (len(names) - before) * 1_000


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binaries", type=Path, default=servers.BINARIES)
    parser.add_argument("--users", type=int, default=1_000)
    parser.add_argument("--at-once", type=int, default=200)
    parser.add_argument("--listed", type=int, default=100_000)
    parser.add_argument("--logins", type=int, default=400)
    options = parser.parse_args()
    servers.BINARIES = options.binaries
    processes = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            measure(Path(folder), options, processes)
        finally:
            for process in processes:
                process.terminate()
                process.wait()


def measure(work, options, processes):
    key = str(work / "key")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    line = Path(key + ".pub").read_text().strip()
    s3 = servers.start_s3(processes)
    binary = options.binaries / "portcullis"
    kept = 'provider = "service-managed"\n'
    start = lambda name, identity: Gateway(work, name, binary, s3, identity, processes)
    places = [("files", start("files", kept)),
              ("a bucket", start("bucket", kept + 'users_store = "s3://bench/.users"'))]
    for place, gateway in places:
        took, cpu = created(gateway, options.users, line)
        print(f"{options.users} users created, kept in {place}: {took:.1f} s, "
              f"processor time of the gateway {cpu:.1f} s", flush=True)
        took, outcomes = at_once(gateway, options.at_once)
        print(f"{options.at_once} changes at once, kept in {place}: {took:.2f} s, {outcomes}", flush=True)

    logins = [f"user-{number}" for number in range(min(options.users, options.logins))]
    users = work / "users.toml"
    users.write_text("".join(
        f'[users.{name}]\npublic_keys = ["{line}"]\n'
        'mappings = [{ entry = "/", target = "/bench" }]\n'
        for name in logins))
    static = start("static", f'provider = "static"\nusers_file = "{users}"')
    for round in range(2):
        for place, gateway in [("a static user", static), *places]:
            of = place if gateway is static else f"a service-managed user, kept in {place}"
            print(f"a login of {of}: {logged_in(gateway, key, logins):.2f} ms of the gateway's "
                  "processor time", flush=True)

    long = start("long", kept)
    written(long, options.listed, line)
    first = memory_mib(long.pid)
    found, times, peaks = listed(long, 3)
    shown = lambda numbers, form: ", ".join(format(number, form) for number in numbers)
    print(f"{found} users listed in pages of 1,000: {shown(times, '.1f')} s; memory {first:.1f} MiB "
          f"before, at most {shown(peaks, '.1f')} MiB")


if __name__ == "__main__":
    main()
