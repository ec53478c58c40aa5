#!/usr/bin/env python3
"""Measures the gateway side by side with Debian's OpenSSH server, in interleaved rounds.

  cargo build --release --workspace --bench load
  python3 tests/bench/compare.py [--rounds 3] [--size-mib 1024] [--only put1,get1,...] [--peers]
  python3 tests/bench/compare.py --delays-ms 0,20,50,100,200 [--rounds 3] [--size-mib 1024]

The gateway runs as `serve`, with the in-memory S3 as a process of its own and a webhook that is
asked at each login; OpenSSH's sftp-server writes to /dev/shm. They are driven by the OpenSSH
client and by a native one (load.rs), with a key and AES-GCM. "Far" is the same gateway with an S3
whose every call takes 30 ms longer; "listed" one with `stat_times = "store"`. With --peers the
table gets a column of `rclone serve sftp` over the same S3. With --delays-ms one file goes up and
down over a line with each delay (there and back). Needs the packages openssh-client and
openssh-server, and for --peers target/venv.
Prints a table of medians, the ratio to OpenSSH, CPU seconds and peak memory of the server; the
CPU of a server is that of all its processes, those that have ended as well.
"""
import argparse, resource, shutil, statistics, subprocess, sys, tempfile, time
from pathlib import Path

import rows
from delay import DelayLine
from servers import (Peak, cpu_seconds, start_gateway, start_openssh, start_rclone, start_s3,
                     start_webhook)

FAR_S3_SECONDS = 0.030
# One user from one address is all of the clients here.
PLACES = "\n".join(f"{name} = 20000" for name in (
    "unauthenticated_connections_max", "connections_per_source_max", "connections_per_user_max",
    "connections_max", "sessions_per_user_max"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size-mib", type=int, default=1024)
    parser.add_argument("--names", type=int, default=100_000, help="in the long directory")
    parser.add_argument("--at-once", type=int, default=500, help="uploads that begin together")
    parser.add_argument("--idle", type=int, default=1_000, help="sessions that do nothing")
    parser.add_argument("--only", default="", help="rows, by name or by its beginning")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--delays-ms", default="")
    options = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    work = Path(tempfile.mkdtemp(prefix="compare."))
    local = Path(tempfile.mkdtemp(prefix="compare.", dir="/dev/shm"))
    processes, servers = [], {}
    try:
        key = str(work / "id")
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        rows.make_files(options, local)
        servers = start(options, work, key, processes)
        report(options, measure(options, chosen(options, local), servers, local))
    finally:
        for process in processes:
            process.terminate()
        folders = {s.folder for kind in servers.values() for s in kind if s.folder}
        for folder in [work, local, *folders]:
            shutil.rmtree(folder, ignore_errors=True)


def start(options, work, key, processes):
    """Kind → servers; a row names its kind."""
    s3, webhook = start_s3(processes), start_webhook(key, processes)
    far_s3 = DelayLine(s3, FAR_S3_SECONDS).port

    def gateway(s3, storage=""):
        return start_gateway(work, key, processes, s3, webhook=webhook, storage=storage, limits=PLACES)

    kept = '[sftp]\nstat_times = "store"'
    near, far = [start_openssh(work, key, processes), gateway(s3)], [gateway(far_s3)]
    if options.peers:
        near.append(start_rclone(work, key, processes, s3))
        far.append(start_rclone(work, key, processes, far_s3))
    return {"near": near, "far": far, "listed": [gateway(s3, kept)],
            "far listed": [gateway(far_s3, kept)]}


def chosen(options, local):
    if options.delays_ms:
        every = rows.over_lines(options, local)
    else:
        every = rows.by_openssh(options, local) + rows.native(options)
    wanted = [word for word in options.only.split(",") if word]
    return [row for row in every if not wanted or row.name in wanted
            or any(word.endswith("*") and row.name.startswith(word[:-1]) for word in wanted)]


def measure(options, every, servers, local):
    """Row → server → what each of its rounds gave."""
    results = {}
    for row in every:
        for server in servers[row.on]:
            row.prepare(server)
        for _ in range(options.rounds):
            for server in servers[row.on]:
                cpu, begun = cpu_seconds(server.pid), time.monotonic()
                with Peak(server.pid) as peak:
                    done = row.measure(server)
                if not isinstance(done, dict):
                    done = {"units": row.units, "seconds": time.monotonic() - begun}
                used = cpu_seconds(server.pid) - cpu
                shown = [done[name] for name in row.shows] or [done["units"] / done["seconds"]]
                results.setdefault(row, {}).setdefault(server.name, []).append(
                    (used, peak.mib, *shown))
                if row.name.startswith("get1") and server.name == "portcullis":
                    subprocess.run(["cmp", local / "big", local / "back"], check=True)
        print(f"{row.name}: {results[row]}", file=sys.stderr, flush=True)
    return results


def report(options, results):
    peers = ["rclone"] if options.peers else []
    print("| workload | OpenSSH |", *(f"{peer} |" for peer in peers),
          "Portcullis | ratio | CPU s (OpenSSH / ours) | peak MiB (ours) |")
    print("| --- |" + " --- |" * (len(peers) + 5))
    for row, runs in results.items():
        middle = {name: [statistics.median(column) for column in zip(*each)]
                  for name, each in runs.items()}

        def speed(name):
            figures = [f"{figure:.1f}" for figure in middle.get(name, ())[2:]]
            return f"{' / '.join(figures)} {row.unit}".strip() if figures else "–"

        theirs, ours = middle.get("openssh"), middle["portcullis"]
        ratio = f"{ours[2] / theirs[2]:.2f}" if theirs else "–"
        used = f"{theirs[0]:.2f} / {ours[0]:.2f}" if theirs else f"– / {ours[0]:.2f}"
        columns = [row.name, *map(speed, ["openssh", *peers, "portcullis"]), ratio, used,
                   f"{ours[1]:.0f}"]
        print("| " + " | ".join(columns) + " |")


if __name__ == "__main__":
    main()
