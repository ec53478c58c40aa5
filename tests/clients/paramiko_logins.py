"""Logging in with paramiko in its versions that people run: it asks for the service again before
each attempt. Each version has a Python of its own, which `test.sh` makes."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys

from cases import Skipped, case, expect_equal
from gateway import REPOSITORY
from processes import Failed, Server, answers, free_port, run

PYTHONS = {
    "2.12": REPOSITORY / "target/venv-paramiko-2.12/bin/python",
    "3.5": REPOSITORY / "target/venv-paramiko-3.5/bin/python",
    "5.1": pathlib.Path(sys.executable),
}
VISITOR = pathlib.Path(__file__).with_name("paramiko_visitor.py")


def for_each_version(name):
    """Registers a case for each version; the body is given a function that logs in with it."""

    def register(body):
        for version, python in PYTHONS.items():

            def with_version(setup, _, version=version, python=python):
                if not python.exists():
                    raise Skipped(f"no {python}: run the step `python packages` of test.sh")
                directory = setup.folder(f"paramiko-{version}-{body.__name__}")
                body(setup, Visitor(setup, version, python, directory))

            case(f"paramiko {version}: {name}")(with_version)
        return body

    return register


class Visitor:
    """Logs in with one version of paramiko."""

    def __init__(self, setup, version, python, directory):
        self.setup, self.version, self.python, self.directory = setup, version, python, directory

    def new_key(self, name):
        path = self.directory / name
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path])
        return path

    def logs_in(self, *, passwords=(), key=None, agent=None, port=None):
        """Logs in, with each of the passwords in turn on one connection."""
        visit = {
            "port": port or self.setup.port,
            "user": self.setup.user,
            "passwords": list(passwords),
            "key": key and str(key),
            "agent": agent is not None,
        }
        environment = {name: text for name, text in os.environ.items() if name != "SSH_AUTH_SOCK"}
        if agent:
            environment["SSH_AUTH_SOCK"] = str(agent)
        done = subprocess.run(
            [str(self.python), str(VISITOR)],
            input=json.dumps(visit),
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        if done.returncode:
            raise Failed(done.stderr[-1500:])
        told = json.loads(done.stdout)
        expect_equal(told["version"].rsplit(".", 1)[0], self.version, "the version")
        return told


@contextlib.contextmanager
def agent(visitor, keys):
    """An agent that has these keys."""
    socket = visitor.directory / "agent"
    with Server("agent", ["ssh-agent", "-D", "-a", socket], visitor.directory) as server:
        server.until(socket.exists)
        for key in keys:
            run(["env", f"SSH_AUTH_SOCK={socket}", "ssh-add", "-q", key])
        yield socket


@contextlib.contextmanager
def asking_for_both(setup, directory):
    """Another gateway with the same users, which wants their key and their password."""
    if not setup.key:
        raise Skipped("the user of this set-up has no key")
    text = (setup.directory / "portcullis.toml").read_text()
    port, admin = free_port(), free_port()
    text = text.replace(f"127.0.0.1:{setup.port}", f"127.0.0.1:{port}")
    text = text.replace(f"127.0.0.1:{setup.admin}", f"127.0.0.1:{admin}")
    config = directory / "both.toml"
    config.write_text(text.replace("[identity]", '[identity]\nmethods = "key-and-password"'))
    with Server("both", [setup.binary, "serve", "--config", config], directory) as server:
        server.until(lambda: answers(f"http://127.0.0.1:{admin}/readyz"))
        yield port


@for_each_version("a foreign key and then the right password")
def foreign_key(setup, visitor):
    visitor.logs_in(key=visitor.new_key("foreign"), passwords=[setup.password])


@for_each_version("foreign keys of an agent and then the right password")
def foreign_agent(setup, visitor):
    keys = [visitor.new_key(f"foreign-{number}") for number in range(3)]
    with agent(visitor, keys) as socket:
        visitor.logs_in(agent=socket, passwords=[setup.password])


@for_each_version("the right key after foreign ones of an agent")
def agent_first(setup, visitor):
    if not setup.key:
        raise Skipped("the user of this set-up has no key")
    with agent(visitor, [visitor.new_key("foreign"), setup.key]) as socket:
        visitor.logs_in(agent=socket)


@for_each_version("a wrong and then the right password")
def second_password(setup, visitor):
    told = visitor.logs_in(passwords=["wrong", setup.password])
    expect_equal(told["refused"], 1, "refused passwords")


@for_each_version("a key and a password, where both are wanted")
def both(setup, visitor):
    with asking_for_both(setup, visitor.directory) as port:
        visitor.logs_in(key=setup.key, passwords=[setup.password], port=port)
