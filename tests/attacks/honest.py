#!/usr/bin/env python3
"""Twenty well-behaved sessions, as a process of their own: real clients, contents compared.

Reads a plan (JSON) from the first line of its input, then commands: `go NAME` begins a phase,
`stop` ends it; the rounds under way are finished and their record is one line of JSON. Each
session is a user of its own at an address of its own; most log in anew for every round, some stay
in, some are OpenSSH's `sftp`, the others paramiko.
"""

import io
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time

import paramiko

SIZES = [1, 1_000, 40_000, 400_000]
# A bound against hanging for ever, not a promise about speed.
STEP_SECONDS_MAX = 60
ROUNDS_MIN = 1


class NotIn(Exception):
    """OpenSSH's client did not get as far as its first command."""


class Session:
    """One user at one address, round after round."""

    def __init__(self, plan, row):
        self.plan, self.row = plan, row
        self.sftp = None
        self.record = []
        self.failures = []

    def rounds(self, over):
        """Runs rounds until told to stop; a round that was begun is finished."""
        pause = self.plan["pause"]
        over.wait(self.row["number"] / 20)  # not all at the same moment
        done = 0
        while done < ROUNDS_MIN or not over.is_set():
            self.round(done)
            done += 1
            over.wait(pause)
        self.leave()

    def round(self, number):
        body = os.urandom(SIZES[(number + self.row["number"]) % len(SIZES)])
        times, step = {}, "login"
        began = time.monotonic()
        try:
            if self.row["kind"] == "openssh":
                step = "transfer"
                self.openssh(number, body)
                times = {"openssh": time.monotonic() - began}
            else:
                fresh = self.sftp is None
                sftp = self.sftp or self.enter()
                if fresh:
                    times["login"] = time.monotonic() - began
                step = "transfer"
                self.transfer(sftp, number, body, times)
                if self.row["kind"] != "stays":
                    self.leave()
            self.record.append(times)
        except Exception as error:  # whatever it was, the round has failed
            took = time.monotonic() - began
            step = "login" if isinstance(error, NotIn) else step
            why = f"{type(error).__name__}: {error}"[:300]
            self.failures.append([step, self.row["user"], f"{why} (after {took:.1f} s)"])
            self.leave()

    def enter(self):
        self.client, self.sftp = connect(self.plan, self.row)
        return self.sftp

    def leave(self):
        if self.sftp:
            self.client.close()
            self.sftp = None

    def transfer(self, sftp, number, body, times):
        """A file goes up, is listed, comes back the same and is removed."""
        name = f"/file-{number}"
        began = time.monotonic()
        sftp.putfo(io.BytesIO(body), name)
        times["upload"] = time.monotonic() - began
        began = time.monotonic()
        sizes = {row.filename: row.st_size for row in sftp.listdir_attr("/")}
        times["listing"] = time.monotonic() - began
        if sizes != {name[1:]: len(body)}:
            raise AssertionError(f"the listing is {sizes}")
        began, back = time.monotonic(), io.BytesIO()
        sftp.getfo(name, back)
        times["download"] = time.monotonic() - began
        if back.getvalue() != body:
            raise AssertionError("other bytes came back")
        sftp.remove(name)

    def openssh(self, number, body):
        folder = pathlib.Path(self.plan["directory"], self.row["user"])
        folder.mkdir(exist_ok=True)
        there, back = folder / "there", folder / "back"
        there.write_bytes(body)
        name = f"/file-{number}"
        batch = f"put {there} {name}\nls -1 /\nget {name} {back}\nrm {name}\n"
        command = ["sftp", "-q", "-b", "-", "-i", self.plan["key"], "-P", str(self.plan["port"])]
        for option in (
            f"UserKnownHostsFile={self.plan['known_hosts']}",
            f"BindAddress={self.row['source']}",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "PreferredAuthentications=publickey",
        ):
            command += ["-o", option]
        command += [f"{self.row['user']}@127.0.0.1"]
        ran = subprocess.run(
            command,
            input=batch,
            text=True,
            capture_output=True,
            timeout=2 * STEP_SECONDS_MAX,
            check=False,
        )
        if ran.returncode:
            entered = "sftp>" in ran.stdout
            why = f"sftp: {' '.join(ran.stderr.split())[-200:]}"
            raise AssertionError(why) if entered else NotIn(why)
        if ran.stdout.count(name[1:]) < 2 or back.read_bytes() != body:
            raise AssertionError("sftp: another listing or other bytes")


def connect(plan, row):
    """Logs a user in with paramiko, by one method; returns the client and its SFTP session."""
    client = paramiko.SSHClient()
    client.load_host_keys(plan["known_hosts"])
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    known = {"password": row["password"]}
    if row["method"] == "key":
        known = {"pkey": paramiko.Ed25519Key.from_private_key_file(plan["key"])}
    way = socket.create_connection(
        ("127.0.0.1", plan["port"]), STEP_SECONDS_MAX, source_address=(row["source"], 0)
    )
    try:
        client.connect(
            "127.0.0.1",
            plan["port"],
            row["user"],
            sock=way,
            allow_agent=False,
            look_for_keys=False,
            timeout=STEP_SECONDS_MAX,
            banner_timeout=STEP_SECONDS_MAX,
            auth_timeout=STEP_SECONDS_MAX,
            channel_timeout=STEP_SECONDS_MAX,
            **known,
        )
        sftp = client.open_sftp()
        sftp.get_channel().settimeout(STEP_SECONDS_MAX)
    except BaseException:
        client.close()
        way.close()
        raise
    return client, sftp


def phase(plan, name):
    """Runs all sessions until the next command; returns their record."""
    over = threading.Event()
    sessions = [Session(plan, row) for row in plan["phases"][name]]
    threads = [
        threading.Thread(target=session.rounds, args=(over,), daemon=True) for session in sessions
    ]
    for thread in threads:
        thread.start()
    sys.stdin.readline()
    over.set()
    for thread in threads:
        thread.join(10 * STEP_SECONDS_MAX)
    stuck = [
        ["transfer", session.row["user"], "never ended"]
        for session, thread in zip(sessions, threads)
        if thread.is_alive()
    ]
    return {
        "rounds": [times for session in sessions for times in session.record],
        "users": {session.row["user"]: len(session.record) for session in sessions},
        "failures": [row for session in sessions for row in session.failures] + stuck,
    }


def main():
    plan = json.loads(sys.stdin.readline())
    while command := sys.stdin.readline().split():
        print(json.dumps(phase(plan, command[1])), flush=True)


if __name__ == "__main__":
    main()
