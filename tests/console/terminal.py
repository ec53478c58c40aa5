"""A person's terminal: a folder, a path with the gateway on it, commands one after the other."""

import contextlib
import fcntl
import os
import pty
import re
import signal
import socket
import subprocess
import termios
import threading
import time

from processes import Failed, free_port, kill_group

PASSWORD = "s3cret"
SECONDS_MAX = 60
# The ports that the pages name; each is another one here, which nobody has.
PORTS = (2222, 8000, 8022, 9000, 9090)
# Commands that go on, and the ports at which they can be reached then.
SERVERS = {
    "quickstart": {2222},
    "serve": {2222, 9090},
    "embedded-s3": {9000},
    "python3": {8000},
}

# Names and addresses of a reader's gateway.
HOSTS = r"(?:sftp\.example\.com|203\.0\.113\.10)"

SHIMS = {
    # What `cargo run` and `cargo install` would build is built already.
    "cargo": """\
case "$*" in
  "install --locked --path .") exec ln -s '{programs}/gateway' '{programs}/portcullis' ;;
  "run --release -- "*) shift 3; exec '{programs}/gateway' "$@" ;;
  "run --release -p embedded-s3 -- "*) shift 5; exec '{store}' --listen 127.0.0.1:{p9000} "$@" ;;
esac
echo "not expected here: cargo $*" >&2
exit 70
""",
    "gateway": """\
case "$1" in
  quickstart) shift; exec '{binary}' quickstart --listen 127.0.0.1:{p2222} "$@" ;;
  admin) exec '{binary}' "$@" --at 127.0.0.1:{p9090} ;;
esac
exec '{binary}' "$@"
""",
    "askpass": 'printf "%s\\n" "$PASSWORD_TO_TYPE"\n',
    "sftp": 'exec {sftp} -F "{programs}/ssh_config" "$@"\n',
}
SSH_CONFIG = """\
UserKnownHostsFile known_hosts
GlobalKnownHostsFile /dev/null
IdentityAgent none
StrictHostKeyChecking accept-new
BatchMode no
"""


class Terminal:
    """Runs the commands of pages; nothing that it started outlives it."""

    def __init__(self, directory, binary, sftp, *, installed):
        self.folder = directory / "folder"
        self.programs = directory / "programs"
        self.folder.mkdir(parents=True)
        self.programs.mkdir()
        self.ports = {port: free_port() for port in PORTS}
        self.behind = []
        self.before = None
        self.logged_in = PASSWORD
        self.sftp = ""
        self.written = {}
        names = {f"p{port}": here for port, here in self.ports.items()}
        names |= {"binary": binary, "store": binary.parent / "embedded-s3", "sftp": sftp}
        for name, text in SHIMS.items():
            self.program(name, "#!/bin/sh\n" + text.format(**names, programs=self.programs))
        (self.programs / "ssh_config").write_text(SSH_CONFIG)
        self.gateway_shim = self.programs / "gateway"
        if installed:
            self.install()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.interrupt()
        for process in self.behind:
            kill_group(process.process)
            process.wait()

    def program(self, name, text):
        path = self.programs / name
        path.write_text(text)
        path.chmod(0o700)

    def install(self):
        (self.programs / "portcullis").symlink_to(self.gateway_shim)

    def here(self, text):
        """What a page says, with the ports and hosts of this machine."""
        text = re.sub(rf"(sftp://\w+)@{HOSTS}(:2222)?/", r"\g<1>@127.0.0.1:2222/", text)
        text = re.sub(rf"@{HOSTS}(?![\w:.])", "@127.0.0.1", text)
        for port, here in self.ports.items():
            text = re.sub(rf"\b{port}\b", str(here), text)
        return text

    def there(self, text):
        """What a program printed, with the ports of the pages."""
        for port, here in self.ports.items():
            text = re.sub(rf"\b{here}\b", str(port), text)
        return text

    def environment(self):
        kept = {name: os.environ[name] for name in ("LANG", "HOME") if name in os.environ}
        return kept | {
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "PORTCULLIS_LISTEN": f"0.0.0.0:{self.ports[2222]}",
            "PORTCULLIS_ADMIN_LISTEN": f"127.0.0.1:{self.ports[9090]}",
            "SSH_ASKPASS": str(self.programs / "askpass"),
            "SSH_ASKPASS_REQUIRE": "force",
            "PASSWORD_TO_TYPE": self.logged_in,
        }

    def run(self, command, enough, answers=()):
        """Runs a command until it ends or, if it is a server, until it can be reached and has
        printed `enough`; returns the lines that it printed and its status, None if it goes on."""
        in_background = command.rstrip().endswith("&")
        text = self.here(command.rstrip().removesuffix("&") if in_background else command)
        serves = next((at for name, at in SERVERS.items() if name in command.split()), None)
        running = Running(text, self.folder, self.environment(), answers)
        try:
            heard = lambda: in_background or enough(self.lines(running))  # noqa: E731
            status = self.wait(running, serves, heard)
        except BaseException:
            kill_group(running.process)
            running.wait()
            raise
        if status is None:
            if in_background:
                self.behind.append(running)
            else:
                self.before = running
        return self.lines(running), status

    def wait(self, running, serves, enough):
        deadline = time.monotonic() + SECONDS_MAX
        while time.monotonic() < deadline:
            if (status := running.process.poll()) is not None:
                running.wait()
                return status
            if serves and serves <= self.listening() and enough():
                return None
            time.sleep(0.02)
        printed = "\n".join(self.lines(running))
        raise Failed(f"no end and no open port in {SECONDS_MAX} s; it printed:\n{printed}")

    def lines(self, running):
        return self.there(running.text()).splitlines()

    def listening(self):
        """The ports of the pages at which somebody answers."""
        return {port for port, here in self.ports.items() if connects(here)}

    def interrupt(self):
        """Ctrl-C for the server before which the person sits."""
        if self.before:
            os.killpg(self.before.process.pid, signal.SIGINT)
            self.before.wait()
            self.before = None


class Running:
    """A command in a shell, and what it printed so far."""

    def __init__(self, text, folder, environment, answers):
        self.printed = []
        ours, theirs = pty.openpty() if answers else os.pipe()
        self.process = subprocess.Popen(
            ["bash", "-c", text],
            cwd=folder,
            env=environment,
            stdin=theirs if answers else subprocess.PIPE,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=(lambda: take_terminal(theirs)) if answers else None,
        )
        os.close(theirs)
        self.ours = ours
        self.reader = threading.Thread(target=self.read, args=(list(answers),))
        self.reader.start()
        if not answers:
            typed = b"" if text.startswith("sftp ") else f"{PASSWORD}\n".encode()
            with contextlib.suppress(BrokenPipeError), self.process.stdin as stdin:
                stdin.write(typed)

    def read(self, answers):
        """Keeps what is printed, and answers each prompt once it stands there."""
        while True:
            try:
                piece = os.read(self.ours, 65_536)
            except OSError:  # a terminal whose program has ended
                break
            if not piece:
                break
            self.printed.append(piece)
            if answers and piece.rstrip().endswith(b":"):
                until_hidden(self.ours)
                os.write(self.ours, answers.pop(0).encode() + b"\n")
        os.close(self.ours)

    def text(self):
        return b"".join(self.printed).decode(errors="replace").replace("\r\n", "\n")

    def wait(self):
        self.process.wait(SECONDS_MAX)
        self.reader.join(SECONDS_MAX)


def until_hidden(terminal):
    """Waits until what is typed is not shown: the prompt stands there a moment before."""
    deadline = time.monotonic() + SECONDS_MAX
    while termios.tcgetattr(terminal)[3] & termios.ECHO and time.monotonic() < deadline:
        time.sleep(0.01)


def take_terminal(terminal):
    """Makes a terminal the one of this session, as a shell's is."""
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


def connects(port):
    with socket.socket() as asked:
        asked.settimeout(5)
        return asked.connect_ex(("127.0.0.1", port)) == 0
