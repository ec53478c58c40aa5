"""What can be counted of the gateway from outside: its metrics, its process, its log."""

import json
import os
import pathlib
import re
import time
import urllib.request

from processes import Failed

TICKS = os.sysconf("SC_CLK_TCK")
SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
LISTENING = "0A"
# Gauges that are 0 when nobody is there.
LEFT_OVER = (
    "portcullis_connections_open",
    "portcullis_connections_before_login",
    "portcullis_handles_open",
    "portcullis_uploads_waiting",
    "portcullis_upload_memory_taken_bytes",
    "portcullis_read_ahead_taken_bytes",
    "portcullis_session_memory_taken_bytes",
)


class Metrics:
    """One scrape."""

    def __init__(self, port):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
            self.samples = list(parse(response.read().decode()))

    def sum(self, name, **labels):
        """The sum of the samples of this name that have these labels."""
        return sum(
            value
            for found, has, value in self.samples
            if found == name and labels.items() <= has.items()
        )

    def labelled(self, name, label):
        """The sum of the samples of this name that have a value for the label."""
        rows = self.samples
        return sum(value for found, has, value in rows if found == name and has.get(label))


def parse(text):
    for line in text.splitlines():
        if match := SAMPLE.match(line):
            name, labels, value = match.groups()
            yield name, dict(LABEL.findall(labels or "")), float(value)


class Process:
    """What /proc says of a process."""

    def __init__(self, pid):
        self.root = pathlib.Path(f"/proc/{pid}")

    def cpu_seconds(self):
        fields = (self.root / "stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def peak_mib(self):
        """The largest resident memory since the start."""
        (kib,) = re.findall(r"VmHWM:\s+(\d+) kB", (self.root / "status").read_text())
        return int(kib) / 1024

    def descriptors(self, ports):
        """How many it has of each kind: by port for sockets of these ports, or `other`."""
        sockets = self.sockets()
        found = dict.fromkeys([*ports.values(), "other"], 0)
        for entry in (self.root / "fd").iterdir():
            try:
                target = os.readlink(entry)
            except FileNotFoundError:
                continue
            inode = target.removeprefix("socket:[").removesuffix("]")
            state, near = sockets.get(inode, ("", set()))
            kind = next((ports[port] for port in near if port in ports), "other")
            if state != LISTENING:
                found[kind] += 1
        return found

    def sockets(self):
        """Inode to state and both ports, of every TCP socket of the machine."""
        rows = {}
        for name in ("tcp", "tcp6"):
            for line in (self.root / "net" / name).read_text().splitlines()[1:]:
                fields = line.split()
                both = {int(fields[at].rsplit(":", 1)[1], 16) for at in (1, 2)}
                rows[fields[9]] = (fields[3], both)
        return rows


class Log:
    """The gateway's lines, as JSON; a line that is no JSON is one too many."""

    def __init__(self, path):
        self.path = pathlib.Path(path)

    def bytes(self):
        return self.path.stat().st_size

    def text(self):
        return self.path.read_text(encoding="utf-8", errors="replace")

    def rows(self):
        found = []
        for number, line in enumerate(self.text().split("\n"), 1):
            if line:
                try:
                    found.append(json.loads(line))
                except ValueError:
                    raise Failed(f"line {number} of the log is no JSON: {line[:300]!r}") from None
        return found

    def logins(self, **fields):
        """The lines of finished attempts that have these fields."""
        return [
            row
            for row in self.rows()
            if row.get("message") in ("login allowed", "login refused")
            and all(row.get(name) == value for name, value in fields.items())
        ]


def settles(metrics, seconds):
    """Waits until nothing is left of any client; returns what is, in words, or nothing."""
    deadline = time.monotonic() + seconds
    while True:
        now = metrics()
        left = {name: now.sum(name) for name in LEFT_OVER if now.sum(name)}
        if not left or time.monotonic() > deadline:
            return ", ".join(f"{name} = {value:g}" for name, value in left.items())
        time.sleep(0.2)
