#!/usr/bin/env python3
"""Measures how much memory the gateway has when idle, under load, and after it, and how fast it is.

  cargo build --release --workspace
  python3 tests/bench/given_back.py [--rounds 2] [--binary NAME=PATH ...]

Each run is a new process of the gateway; binaries take turns. The load: eight clients put --files of
4 MiB, get eight of --get-mib, list --names, and log in --logins times. The in-memory S3 is a
process of its own, the webhook this one. Needs the package openssh-client.
"""
import argparse, os, shutil, statistics, subprocess, tempfile, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from servers import ROOT, Peak, cpu_seconds, memory_mib, start_gateway, start_s3

AFTER = (1, 10, 30)


def phases(options, local):
    def eight(action):
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(action, range(8)))

    def puts(server, number):
        server.sftp("".join(f"put {local}/4 /u{file}\n" for file in range(number, options.files, 8)))

    return {
        "put": lambda s: eight(lambda n: puts(s, n)),
        "get": lambda s: eight(lambda n: s.sftp(f"get /big{n} {local}/back{n}")),
        "ls": lambda s: eight(lambda _: s.sftp("ls -1 /many")),
        "login": lambda s: eight(lambda _: [s.sftp("bye") for _ in range(options.logins // 8)]),
    }


def prepare(options, server, local):
    for name, mib in (("4", 4), ("large", options.get_mib), ("empty", 0)):
        with open(local / name, "wb") as file:
            for _ in range(mib):
                file.write(os.urandom(2**20))
    names = "".join(f"put {local}/empty /many/{number:05}\n" for number in range(options.names))
    files = "".join(f"put {local}/large /big{number}\n" for number in range(8))
    server.sftp("mkdir /many\n" + files + names)


def run(options, server, local):
    """One process from idle to idle: name → figures."""
    server.sftp(f"put {local}/4 /w\nget /w {local}/w\nls /\n")
    time.sleep(12)
    row = {"idle": memory_mib(server.pid)}
    for name, action in phases(options, local).items():
        cpu, begun = cpu_seconds(server.pid), time.monotonic()
        with Peak(server.pid) as peak:
            action(server)
        row[f"{name} s"] = time.monotonic() - begun
        row[f"{name} cpu"] = cpu_seconds(server.pid) - cpu
        row[f"{name} peak"] = peak.mib
    over = time.monotonic()
    for after in AFTER:
        time.sleep(max(0, over + after - time.monotonic()))
        row[f"after {after} s"] = memory_mib(server.pid)
    row["ratio"] = row["after 10 s"] / row["idle"]
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--get-mib", type=int, default=128)
    parser.add_argument("--names", type=int, default=10_000)
    parser.add_argument("--logins", type=int, default=200)
    parser.add_argument("--binary", action="append", metavar="NAME=PATH")
    options = parser.parse_args()
    binaries = options.binary or [f"portcullis={ROOT}/target/release/portcullis"]
    work = Path(tempfile.mkdtemp(prefix="given-back."))
    local = Path(tempfile.mkdtemp(prefix="given-back.", dir="/dev/shm"))
    processes, rows = [], {}
    try:
        key = str(work / "id")
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        s3 = start_s3(processes)
        prepared = False
        for _ in range(options.rounds):
            for name, path in (binary.split("=", 1) for binary in binaries):
                server = start_gateway(work, key, processes, s3, path)
                if not prepared:
                    prepare(options, server, local)
                    prepared = True
                    stop(processes)
                    server = start_gateway(work, key, processes, s3, path)
                rows.setdefault(name, []).append(run(options, server, local))
                print(name, {k: round(v, 2) for k, v in rows[name][-1].items()}, flush=True)
                stop(processes)
    finally:
        for process in processes:
            process.terminate()
        for folder in [work, local]:
            shutil.rmtree(folder, ignore_errors=True)
    names = list(rows)
    print("| | " + " | ".join(names) + " |")
    print("| --- |" + " --- |" * len(names))
    for figure in rows[names[0]][0]:
        middle = (statistics.median(run[figure] for run in rows[name]) for name in names)
        print(f"| {figure} | " + " | ".join(f"{value:.2f}" for value in middle) + " |")


def stop(processes):
    """Ends the gateway, the last that was started."""
    gateway = processes.pop()
    gateway.terminate()
    gateway.wait()


if __name__ == "__main__":
    main()
