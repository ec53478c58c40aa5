"""OpenSSH's `sftp` through HAProxy, which tells the gateway whose connection it is."""

import contextlib
import dataclasses
import re
import shutil

from cases import Skipped, case, expect
from openssh import askpass, ssh_options
from processes import Server, free_port, run

CLIENT = "127.0.0.9"
HAPROXY = """\
global
    maxconn 100
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen text
    bind 127.0.0.1:{v1}
    server gateway 127.0.0.1:{gateway} send-proxy
listen bytes
    bind 127.0.0.1:{v2}
    server gateway 127.0.0.1:{gateway} send-proxy-v2 check send-proxy-v2 check-send-proxy inter 200
listen plain
    bind 127.0.0.1:{plain}
    server gateway 127.0.0.1:{gateway}
"""


@case("HAProxy with PROXY protocol 1 and 2, required: the log has the client's address")
def required(setup, _):
    with balanced(setup, "required") as (gateway, ports):
        for version, port in [("v1", ports["v1"]), ("v2", ports["v2"])]:
            expect(logs_in(setup, port), f"no login with {version}:\n{gateway.text()[-800:]}")
            line = last_login(gateway)
            for part in [f"source_ip={CLIENT}", f'proxy_protocol_{version}_header="applied"']:
                expect(part in line, f"{part} is not in {line}")
        expect(not logs_in(setup, ports["plain"]), "a login without a header")
        gateway.line_with('reason="proxy-header"')
        # HAProxy has checked the port all the time.
        noise = [line for line in gateway.text().splitlines() if "closed before login" in line]
        expect(not noise, f"health checks left lines: {noise[:3]}")


@case("HAProxy with PROXY protocol 2, ignored: the header is passed over")
def ignored(setup, _):
    with balanced(setup, "ignore") as (gateway, ports):
        for name, noted in [("v2", True), ("plain", False)]:
            expect(logs_in(setup, ports[name]), f"no login through {name}")
            line = last_login(gateway)
            expect("source_ip=127.0.0.1" in line, f"the header was believed: {line}")
            ignored = 'proxy_protocol_v2_header="ignored"' in line
            expect(ignored == noted, f"what became of the header: {line}")


@contextlib.contextmanager
def balanced(setup, mode):
    """Another gateway with the set-up's settings behind HAProxy; its log and HAProxy's ports."""
    if setup.name != "serve":
        raise Skipped("quickstart has no such setting")
    haproxy = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if haproxy is None:
        raise Skipped("haproxy is missing")
    folder = setup.folder(f"balanced-{mode}")
    ports = {name: free_port() for name in ["gateway", "v1", "v2", "plain"]}
    settings = (setup.directory / "portcullis.toml").read_text()
    trusted = 'trusted_networks = ["127.0.0.1"]\n' if mode == "required" else ""
    top = f'listen = "127.0.0.1:{ports["gateway"]}"\nproxy_protocol = "{mode}"\n{trusted}'
    settings = re.sub(r'^listen = "[^"]*"\n', top, settings, count=1)
    settings = re.sub(r'(?m)(^\[admin\]\nlisten = ")[^"]*', r"\1off", settings)
    config = folder / "portcullis.toml"
    config.write_text(settings)
    (folder / "haproxy.cfg").write_text(HAPROXY.format(**ports))
    with contextlib.ExitStack() as stack:
        arguments = [setup.binary, "serve", "--config", config]
        gateway = stack.enter_context(Server("gateway", arguments, folder))
        gateway.line_with("listening")
        arguments = [haproxy, "-db", "-f", "haproxy.cfg"]
        balancer = stack.enter_context(Server("haproxy", arguments, folder))
        balancer.until(lambda: logs_in(setup, ports["v2"]))
        yield gateway, ports


def logs_in(setup, port):
    """Whether a directory can be listed through a port, coming from an address of our own."""
    options = ssh_options(dataclasses.replace(setup, port=port))
    options += ["-oBindAddress=" + CLIENT, f"-oHostKeyAlias=[127.0.0.1]:{setup.port}"]
    arguments = ["sftp", *options, "-b", "-", "127.0.0.1"]
    ran = run(arguments, text="ls /\n", environment=askpass(setup), succeed=None)
    return ran.status == 0


def last_login(gateway):
    lines = [line for line in gateway.text().splitlines() if "login allowed" in line]
    expect(lines, "nobody is said to have logged in")
    return lines[-1]
