"""The scene of an attack: a gateway, its S3, its identity service, twenty honest sessions."""

import collections
import contextlib
import functools
import json
import pathlib
import secrets
import subprocess
import sys
import threading
import time
import urllib.request

from facts import Log, Metrics, Process
from processes import Failed, Server, answers, free_port, kill_group, run
from wire import Closed, Wire

HERE = pathlib.Path(__file__).resolve().parent
SESSIONS = 20
STRANGER = "127.0.0.2"
STRANGERS = ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"]
PASSWORD = f"right-{secrets.token_hex(8)}"


class Scene:
    """One gateway and everything around it, for one attack."""

    def __init__(self, binary, directory, attack, *, long):
        self.binary, self.directory, self.attack, self.long = binary, directory, attack, long
        self.acts = collections.Counter()
        self.notes = []
        self.users = {}
        self.deadline = 0.0
        self.probe = None
        self.records = []
        self.wrong = []
        self.lock = threading.Lock()
        self.hostile_phases = 0

    @contextlib.contextmanager
    def started(self):
        """Starts everything, and stops it again, whatever happens between."""
        with contextlib.ExitStack() as stack:
            self.make_keys()
            self.plan = self.honest_plan()
            self.s3 = stack.enter_context(self.start_s3())
            self.service = stack.enter_context(self.start_service())
            self.service_url = self.service.line_with("listening on ").split()[-1]
            self.control(**self.attack.service)
            self.gateway = stack.enter_context(self.start_gateway())
            self.gateway.until(lambda: answers(f"http://127.0.0.1:{self.admin}/readyz"))
            self.process = Process(self.gateway.process.pid)
            self.log = Log(self.gateway.log)
            self.honest = stack.enter_context(Honest(self.directory, self.plan))
            yield self

    # ---- starting ----

    def make_keys(self):
        self.key, host_key = self.directory / "id_ed25519", self.directory / "host_key"
        for path in (self.key, host_key):
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "attacks", "-f", path])
        self.host_key = host_key
        self.public_key = self.key.with_suffix(".pub").read_text().strip()
        self.port, self.admin = free_port(), free_port()
        self.known_hosts = self.directory / "known_hosts"
        kind, blob = host_key.with_suffix(".pub").read_text().split()[:2]
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {kind} {blob}\n")

    def add_user(self, name):
        self.users[name] = {"password": PASSWORD, "keys": [self.public_key]}

    def honest_plan(self):
        """Who logs in, from where and how: the same in every phase, but for the newcomers."""
        rows = [self.honest_row(number) for number in range(SESSIONS)]
        phases = {"quiet": rows}
        for number in range(PHASES_MAX):
            changed = [dict(row) for row in rows]
            for row in changed[1::2] if self.attack.newcomers else []:
                row["user"] = f"new{number}-{row['user']}"
            phases[f"hostile{number}"] = changed
        for row in (row for phase in phases.values() for row in phase):
            self.add_user(row["user"])
        for name in ("mallory", "target", *self.attack.users):
            self.add_user(name)
        return {
            "port": self.port,
            "known_hosts": str(self.known_hosts),
            "key": str(self.key),
            "directory": str(self.directory),
            "pause": 1.5,
            "phases": phases,
        }

    def honest_row(self, number):
        kind = "openssh" if number < 2 else "stays" if number < 5 else "comes-and-goes"
        return {
            "number": number,
            "user": f"honest{number:02}",
            "password": PASSWORD,
            "source": f"127.0.1.{number + 1}",
            "kind": kind,
            "method": "key" if number < 2 or number % 3 == 0 else "password",
        }

    def start_s3(self):
        port = free_port()
        self.s3_port = port
        command = [self.binary.with_name("embedded-s3"), "--listen", f"127.0.0.1:{port}"]
        command += ["--bucket", "attacks", "--access-key", "AK", "--secret-key", "SK"]
        return Server("s3", command, self.directory)

    def start_service(self):
        users = self.directory / "users.json"
        users.write_text(json.dumps(self.users))
        command = [sys.executable, "-B", HERE / "service.py", "--users", users]
        return Server("service", command, self.directory)

    def start_gateway(self):
        self.s3.line_with("listening on ")
        sections = {
            "": {"listen": f"127.0.0.1:{self.port}", "host_key_files": [str(self.host_key)]},
            "identity": {"url": self.service_url},
            "storage": {
                "endpoint": f"http://127.0.0.1:{self.s3_port}",
                "path_style": True,
                "access_key_id": "AK",
                "secret_access_key": "SK",
            },
            "admin": {"listen": f"127.0.0.1:{self.admin}"},
            "log": {"format": self.attack.log_format},
        }
        if self.knows("admin.probe_listen"):
            self.probe = free_port()
            sections["admin"]["probe_listen"] = f"127.0.0.1:{self.probe}"
        for name, value in self.attack.settings.items():
            section, _, setting = name.partition(".")
            if not self.knows(name):
                self.note(f"this binary has no setting {name}: played without")
                continue
            sections.setdefault(section, {})[setting] = value
        config = self.directory / "portcullis.toml"
        config.write_text("".join(toml(name, rows) for name, rows in sections.items()))
        return Server("gateway", [self.binary, "serve", "--config", config], self.directory)

    # ---- what can be asked ----

    def metrics(self):
        return Metrics(self.admin)

    def control(self, **changes):
        """Changes how the identity service answers from now on."""
        body = json.dumps(changes).encode()
        request = urllib.request.Request(self.service_url + "control", data=body)
        urllib.request.urlopen(request, timeout=10).close()

    def counts(self):
        with urllib.request.urlopen(self.service_url + "counts", timeout=10) as response:
            return json.loads(response.read())

    def questions(self, *, source=None, name=None):
        """What the service was asked: rows of name, method, source, right password, status."""
        return [
            row
            for row in self.counts()["questions"]
            if source in (None, row[2]) and name in (None, row[0])
        ]

    def knows(self, setting):
        """Whether this binary has a setting."""
        return setting in settings_of(self.binary)

    # ---- what hostile clients need ----

    def over(self):
        """Whether the hostile phase is at its end."""
        return time.monotonic() > self.deadline

    def prepared(self):
        """The hostile phase begins now: what was done before was not yet the attack."""
        self.deadline = time.monotonic() + self.attack.seconds[self.long]

    def act(self, what, count=1):
        with self.lock:
            self.acts[what] += count
        return self.acts[what]

    def expect(self, truth, otherwise):
        """Notes what is wrong, unless `truth` holds, and goes on: the next check may say more."""
        if not truth:
            self.wrong.append(otherwise)

    def expect_equal(self, found, wanted, what):
        self.expect(found == wanted, f"{found} {what} instead of {wanted}")

    def note(self, text):
        """Something for people to see, which is not asserted."""
        self.notes.append(text)

    def wire(self, source=STRANGER, seconds=20):
        return Wire(self.port, source, seconds)

    def tries(self, user, passwords, source=STRANGER):
        """Tries passwords on one connection; returns how many were tried, and whether one did."""
        tried = 0
        try:
            with self.wire(source) as wire:
                wire.ready()
                for password in passwords:
                    if self.over():
                        break
                    tried += 1
                    self.act("passwords")
                    if wire.password(user, password):
                        return tried, True
        except Closed:
            pass
        return tried, False

    def at_once(self, *bodies):
        """Runs functions side by side until all have ended; the first error is raised."""
        errors = []

        def guarded(body):
            try:
                body()
            except Exception as error:  # raised below, in the thread that waits
                errors.append(error)

        threads = [threading.Thread(target=guarded, args=(body,), daemon=True) for body in bodies]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(HOSTILE_SECONDS_MAX)
            if thread.is_alive():
                raise Failed("a hostile client never ended: it waits for the gateway")
        if errors:
            raise errors[0]


class Honest:
    """The process with the honest sessions."""

    def __init__(self, directory, plan):
        self.errors = open(directory / "honest.log", "wb")
        self.process = subprocess.Popen(
            [sys.executable, "-B", str(HERE / "honest.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            bufsize=1,
            start_new_session=True,
        )
        self.say(json.dumps(plan))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        kill_group(self.process)
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self.errors.close()

    def say(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def begin(self, phase):
        self.say(f"go {phase}")

    def end(self):
        """Lets the rounds under way end; returns the record of the phase."""
        self.say("stop")
        line = self.process.stdout.readline()
        if not line:
            raise Failed("the process of the honest sessions has ended, see honest.log")
        return json.loads(line)


@functools.cache
def settings_of(binary):
    """Every `section.setting` that the binary has."""
    found, section = set(), ""
    for line in run([binary, "check-config", "--print-default"]).output.splitlines():
        if line.startswith("["):
            section = line.strip("[]") + "."
        elif " =" in line:
            found.add(section + line.lstrip("#").split(" =")[0])
    return found


def toml(name, rows):
    head = f"[{name}]\n" if name else ""
    return head + "".join(f"{key} = {json.dumps(value)}\n" for key, value in rows.items()) + "\n"


PHASES_MAX = 8
HOSTILE_SECONDS_MAX = 300
