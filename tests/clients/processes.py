"""Starting, waiting for and stopping processes: none outlives the run."""

import os
import pathlib
import random
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request


class Failed(Exception):
    """A case that did not come out as it should; the text is for the person who reads it."""


# Below those that the system gives to connections: one of them could take a port between its
# choice and the server's start.
_PORTS = iter(random.sample(range(11_000, 32_000), 2_000))


def free_port():
    """A port that nobody listens on, and that was not given out before."""
    for port in _PORTS:
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise Failed("no port is free")


class Server:
    """A process of its own group, its log in a file."""

    def __init__(self, name, arguments, directory, *, grace=10, environment=None):
        self.name = name
        self.grace = grace
        self.log = pathlib.Path(directory) / f"{name}.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [str(argument) for argument in arguments],
                cwd=directory,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """SIGTERM, some patience, SIGKILL; returns the exit status."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(self.grace)
            except subprocess.TimeoutExpired:
                kill_group(self.process)
                self.process.wait()
        return self.process.returncode

    def until(self, ready, seconds=20):
        """Waits until `ready()` gives something, and returns it."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            if result := ready():
                return result
            time.sleep(0.02)
        tail = "\n".join(self.text().splitlines()[-10:])
        raise Failed(f"{self.name} does not answer; its log ends:\n{tail}")

    def line_with(self, text):
        """Waits for a whole line of the log that holds `text`."""

        def found():
            lines = self.text().splitlines(keepends=True)
            return next((line for line in lines if text in line and line.endswith("\n")), None)

        return self.until(found).rstrip("\n")

    def text(self):
        return self.log.read_text(encoding="utf-8", errors="replace")


class Ran:
    """What a client did."""

    def __init__(self, arguments, status, output, errors):
        self.arguments = arguments
        self.status = status
        self.output = output
        self.errors = errors

    def complaint(self):
        tail = "\n".join((self.errors or self.output).strip().splitlines()[-8:])
        return f"{' '.join(self.arguments)[:200]} → exit {self.status}:\n{tail}"


def run(arguments, *, text="", environment=None, cwd=None, seconds=120, succeed=True):
    """Runs a client to its end; `succeed=None` takes any exit status."""
    arguments = [str(argument) for argument in arguments]
    process = subprocess.Popen(
        arguments,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(text.encode(), timeout=seconds)
    except subprocess.TimeoutExpired:
        kill_group(process)
        _, errors = process.communicate()
        tail = errors.decode(errors="replace")[-800:]
        raise Failed(f"{' '.join(arguments)[:200]} took over {seconds} s:\n{tail}") from None
    except BaseException:
        kill_group(process)
        process.wait()
        raise
    ran = Ran(
        arguments,
        process.returncode,
        output.decode(errors="replace"),
        errors.decode(errors="replace"),
    )
    if succeed is not None and (ran.status == 0) != succeed:
        raise Failed(ran.complaint())
    return ran


def kill_group(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def answers(url):
    """Whether a GET is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return response.status == 200
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
