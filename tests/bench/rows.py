"""What compare.py measures: the rows of its table.

A row has a name, the servers that take part, what is done there once (`prepare`), and what is
measured. The measured function returns what the native client printed, or nothing: then the whole
time counts, with connecting and logging in.
"""
import json, os, time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Callable

from delay import DelayLine
from servers import memory_mib


@dataclass(frozen=True)
class Row:
    name: str
    units: int
    unit: str
    measure: Callable
    # Of the servers' `kind`s.
    on: str = "near"
    prepare: Callable = lambda server: None
    # Figures of the native client that are shown in place of the speed.
    shows: tuple = ()


def eight(server, action):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(action, range(8)))


def by_openssh(options, local):
    """Rows that OpenSSH's client drives, with AES-GCM; `default` is with the cipher it prefers."""
    small = [local / "small" / str(number) for number in range(500)]
    put500 = lambda s: s.sftp("".join(f"put {f} {s.folder}/s{f.name}\n" for f in small))
    get500 = lambda s: s.sftp("".join(f"get {s.folder}/s{f.name} {local}/c{f.name}\n" for f in small))
    rows = []
    for suffix, cipher in (("", None), (" default", ())):
        more = {} if cipher is None else {"cipher": cipher}
        put1 = lambda s, more=more: s.sftp(f"put {local}/big {s.folder}/big", **more)
        get1 = lambda s, more=more: s.sftp(f"get {s.folder}/big {local}/back", **more)
        put8 = lambda s, more=more: eight(
            s, lambda n: s.sftp(f"put {local}/part {s.folder}/p{n}", **more))
        get8 = lambda s, more=more: eight(
            s, lambda n: s.sftp(f"get {s.folder}/p{n} {local}/b{n}", **more))
        rows += [
            Row(f"put1{suffix}", options.size_mib, "MiB/s", put1),
            Row(f"get1{suffix}", options.size_mib, "MiB/s", get1, prepare=put1),
            Row(f"put8{suffix}", 8 * 256, "MiB/s", put8),
            Row(f"get8{suffix}", 8 * 256, "MiB/s", get8, prepare=put8),
        ]
    return rows + [
        Row("put500", 500, "files/s", put500),
        Row("get500", 500, "files/s", get500, prepare=put500),
        Row("ls10k", 1, "per s", lambda s: s.sftp(f"ls -1 {s.folder}/many/0"),
            prepare=lambda s: s.load("put-empty", "many", 1, 64, 10_000)),
        Row("login8", 80, "logins/s", lambda s: eight(s, lambda _: [s.sftp("bye") for _ in range(10)])),
    ]


def native(options):
    """Rows of the native client: sessions, requests under way for each, and how often."""
    put_large = lambda s: s.load("put-large", "eight", 8, 128)
    put_small = lambda s: s.load("put-small", "small", 8, 16, 500)
    one_by_one = lambda s: s.load("put-small", "single", 1, 1, 800)
    a_few = lambda s: s.load("put-small", "few", 1, 1, 100)
    listed = lambda s: s.load("put-small", "listed", 1, 16, 900)
    names = lambda s: s.load("put-empty", "names", 1, 64, options.names)
    rows = [
        Row("native put8", 0, "MiB/s", put_large),
        Row("native get8", 0, "MiB/s", lambda s: s.load("get-large", "eight", 8, 128), prepare=put_large),
        Row("small put, 8 × 16", 0, "files/s", put_small),
        Row("small get, 8 × 16", 0, "files/s", lambda s: s.load("get-small", "small", 8, 16, 500),
            prepare=put_small),
        Row("small put, one by one", 0, "files/s", one_by_one),
        Row("small get, one by one", 0, "files/s", lambda s: s.load("get-small", "single", 1, 1, 800),
            prepare=one_by_one),
        Row("small put, one by one, far S3", 0, "files/s", a_few, on="far"),
        Row("small get, one by one, far S3", 0, "files/s", lambda s: s.load("get-small", "few", 1, 1, 100),
            on="far", prepare=a_few),
        Row("STAT of listed names", 0, "per s", lambda s: s.load("stat", "listed", 1, 16, 900, 20_000),
            on="listed", prepare=listed),
        Row("STAT of listed names, far S3", 0, "per s",
            lambda s: s.load("stat", "listed", 1, 16, 900, 20_000), on="far listed", prepare=listed),
        Row("names listed", 0, "names/s", lambda s: s.load("list", "names", options.names), prepare=names),
        # The same names, over the same S3.
        Row("names listed, far S3", 0, "names/s", lambda s: s.load("list", "names", options.names),
            on="far"),
        Row("logins, 8 at a time", 0, "logins/s", lambda s: s.load("logins", "", 8, 400)),
        Row("uploads of 4 MiB at once, slowest by fastest", 0, "", at_once(options.at_once),
            shows=("slowest_by_fastest",)),
        Row("64 KiB once a second by 200, alone", 0, "ms p50, p99",
            lambda s: s.load("paced", "paced", 200, 5), shows=("p50_ms", "p99_ms")),
        Row("the same beside eight that move large files", 0, "ms p50, p99", beside_large,
            prepare=put_large, shows=("p50_ms", "p99_ms")),
        Row("idle sessions", 0, "KiB each", idle(options.idle), shows=("kib_each",)),
    ]
    return rows


def at_once(sessions):
    return lambda server: server.load("at-once", "at-once", sessions, 4)


def beside_large(server):
    """Small uploads at a steady pace while eight others read and write as fast as they can."""
    small = server.start_load("paced", "paced", 200, 5)
    while small.poll() is None:
        large = [server.start_load("put-large", "eight-up", 4, 128),
                 server.start_load("get-large", "eight", 4, 128)]
        for client in large:
            client.communicate()
    return json.loads(small.communicate()[0].splitlines()[-1])


def idle(sessions):
    def measure(server):
        before = memory_mib(server.pid)
        client = server.start_load("idle", "idle", sessions)
        client.stdout.readline()
        # What a login took is given back some seconds later.
        time.sleep(12)
        each = (memory_mib(server.pid) - before) * 1024 / sessions
        client.communicate()
        return {"units": sessions, "seconds": 1, "kib_each": each}
    return measure


def over_lines(options, local):
    """One file up and down over a line with each delay, by OpenSSH's client and the native one."""
    rows = []
    for millis in [int(word) for word in options.delays_ms.split(",")]:
        for name, what in {
            "put": lambda s: s.sftp(f"put {local}/big {s.folder}/big"),
            "put, 256 requests": lambda s: s.sftp(f"put {local}/big {s.folder}/big", ("-R", "256")),
            "get": lambda s: s.sftp(f"get {s.folder}/big {local}/back"),
            "put, native": lambda s: s.load("put-large", "line", 1, options.size_mib),
            "get, native": lambda s: s.load("get-large", "line", 1, options.size_mib),
        }.items():
            native = name.endswith("native")
            prepare = lambda s: s.load("put-large", "line", 1, options.size_mib) if native else None
            rows.append(Row(f"{name}, {millis} ms", 0 if native else options.size_mib, "MiB/s",
                            delayed(what, millis), prepare=prepare))
    return rows


def delayed(what, millis):
    def measure(server):
        line = DelayLine(server.port, millis / 1000)
        try:
            return what(server.over(line))
        finally:
            line.close()
    return measure


def make_files(options, local):
    (local / "small").mkdir()
    for number in range(500):
        (local / "small" / str(number)).write_bytes(os.urandom(4096))
    block = os.urandom(2**20)
    for name, mib in (("big", options.size_mib), ("part", 256)):
        with open(local / name, "wb") as file:
            for number in range(mib):
                file.write(number.to_bytes(8, "big") + block[8:])
