#!/usr/bin/env python3
"""Measures the gateway side by side with Debian's OpenSSH server, in interleaved rounds.

  cargo build --release --workspace
  python3 tests/bench/compare.py [--rounds 3] [--size-mib 1024] [--only put1,get1,...]
  python3 tests/bench/compare.py --delays-ms 0,20,50,100,200 [--rounds 3] [--size-mib 1024]

The gateway runs as `serve`, with the in-memory S3 as a process of its own and a webhook that is
asked at each login; OpenSSH's sftp-server writes to /dev/shm. Both are driven by the OpenSSH
client with a key and AES-GCM. With --delays-ms one file goes up and down over a line with each
delay (there and back), also by a client that keeps 256 requests under way in place of 64. Needs
the packages openssh-client and openssh-server.
Prints a table of medians, the ratio to OpenSSH, CPU seconds and peak memory of the server.
"""
import argparse, json, os, shutil, socket, statistics, subprocess, sys, tempfile, threading, time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from delay import DelayLine

ROOT = Path(__file__).resolve().parents[2]
BINARIES = ROOT / "target" / "release"
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
OPTIONS = ["-q", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
           "-o", "IdentitiesOnly=yes", "-o", "KexAlgorithms=curve25519-sha256",
           "-c", "aes128-gcm@openssh.com"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port):
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"nothing listens on port {port}")


def family(root):
    """The process and everything below it."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parent = int(Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()[1])
                children.setdefault(parent, []).append(int(entry))
            except OSError:
                pass
    found, todo = [], [root]
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], [])
    return found


def cpu_seconds(root):
    total = 0
    for pid in family(root):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += sum(int(field) for field in fields[11:15])
        except OSError:
            pass
    return total / TICKS


def memory_mib(root):
    total = 0
    for pid in family(root):
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
        except OSError:
            pass
    return total / 2**20


class Peak:
    """Watches the memory of a process while something runs."""

    def __init__(self, root):
        self.root, self.mib, self.over = root, 0.0, threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def watch(self):
        while not self.over.wait(0.05):
            self.mib = max(self.mib, memory_mib(self.root))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


class Server:
    def __init__(self, name, port, user, folder, key, pid):
        self.name, self.port, self.user, self.folder, self.key, self.pid = (
            name, port, user, folder, key, pid)

    def over(self, line):
        """The same server at the other end of a line."""
        return Server(self.name, line.port, self.user, self.folder, self.key, self.pid)

    def sftp(self, batch, options=()):
        command = ["sftp", *OPTIONS, *options, "-i", self.key, "-P", str(self.port), "-b", "-",
                   f"{self.user}@127.0.0.1"]
        done = subprocess.run(command, input=batch, text=True, capture_output=True)
        if done.returncode:
            sys.exit(f"{self.name}: {batch[:200]!r} failed: {done.stderr}")
        return done.stdout


def idp_handler(public_key):
    class Idp(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            mappings = [{"entry": "/", "target": "/bench"}]
            body = json.dumps({"allow": True, "mappings": mappings, "publicKeys": [public_key]})
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_):
            pass

    return Idp


def start_s3(processes):
    port = free_port()
    processes.append(subprocess.Popen(
        [BINARIES / "embedded-s3", "--listen", f"127.0.0.1:{port}", "--bucket", "bench",
         "--access-key", "AK", "--secret-key", "SK"], stdout=subprocess.DEVNULL))
    wait_for(port)
    return port


def start_gateway(work, key, processes, s3, binary=BINARIES / "portcullis"):
    ssh, idp = free_port(), free_port()
    handler = idp_handler(Path(key + ".pub").read_text().strip())
    webhook = ThreadingHTTPServer(("127.0.0.1", idp), handler)
    threading.Thread(target=webhook.serve_forever, daemon=True).start()
    config = work / "portcullis.toml"
    config.write_text(f"""
listen = "127.0.0.1:{ssh}"
state_directory = "{work}/state"
[identity]
url = "http://127.0.0.1:{idp}/"
[storage]
endpoint = "http://127.0.0.1:{s3}"
path_style = true
access_key_id = "AK"
secret_access_key = "SK"
[admin]
listen = "off"
""")
    log = open(work / "gateway.log", "w")
    gateway = subprocess.Popen([binary, "serve", "--config", config], stderr=log)
    processes.append(gateway)
    wait_for(ssh)
    return Server("portcullis", ssh, "bench", "", key, gateway.pid)


def start_openssh(work, key, processes):
    port = free_port()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", work / "host"], check=True)
    Path("/run/sshd").mkdir(exist_ok=True)
    folder = tempfile.mkdtemp(prefix="openssh.", dir="/dev/shm")
    config = work / "sshd_config"
    config.write_text(f"""
ListenAddress 127.0.0.1
Port {port}
HostKey {work}/host
AuthorizedKeysFile {key}.pub
Subsystem sftp /usr/lib/openssh/sftp-server
MaxStartups 200
UsePAM no
StrictModes no
PermitRootLogin yes
PidFile none
""")
    sshd = subprocess.Popen(["/usr/sbin/sshd", "-D", "-f", config], stderr=subprocess.DEVNULL)
    processes.append(sshd)
    wait_for(port)
    return Server("openssh", port, os.environ.get("USER", "root"), folder, key, sshd.pid)


def workloads(options, local):
    """Name → (what one run does, how many units it moves, the unit)."""
    small = [local / "small" / str(number) for number in range(500)]

    def eight(server, action):
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(action, range(8)))

    return {
        "put1": (lambda s: s.sftp(f"put {local}/big {s.folder}/big"), options.size_mib, "MiB/s"),
        "get1": (lambda s: s.sftp(f"get {s.folder}/big {local}/back"), options.size_mib, "MiB/s"),
        "put8": (lambda s: eight(s, lambda n: s.sftp(f"put {local}/part {s.folder}/p{n}")),
                 8 * 256, "MiB/s"),
        "get8": (lambda s: eight(s, lambda n: s.sftp(f"get {s.folder}/p{n} {local}/b{n}")),
                 8 * 256, "MiB/s"),
        "put500": (lambda s: s.sftp("".join(f"put {f} {s.folder}/s{f.name}\n" for f in small)),
                   500, "files/s"),
        "get500": (lambda s: s.sftp("".join(f"get {s.folder}/s{f.name} {local}/c{f.name}\n"
                                            for f in small)), 500, "files/s"),
        "ls10k": (lambda s: s.sftp(f"ls -1 {s.folder}/many"), 1, "per s"),
        "login8": (lambda s: eight(s, lambda _: [s.sftp("bye") for _ in range(10)]),
                   80, "logins/s"),
    }


def prepare(options, servers, local):
    (local / "small").mkdir()
    for number in range(500):
        (local / "small" / str(number)).write_bytes(os.urandom(4096))
    block = os.urandom(2**20)
    for name, mib in (("big", options.size_mib), ("part", 256)):
        with open(local / name, "wb") as file:
            for number in range(mib):
                file.write(number.to_bytes(8, "big") + block[8:])
    if options.delays_ms:
        return
    empty = local / "empty"
    empty.write_bytes(b"")
    for server in servers:
        names = "".join(f"put {empty} {server.folder}/many/{number:05}\n" for number in range(10_000))
        server.sftp(f"mkdir {server.folder}/many\n" + names)


def over_lines(options, local):
    """Name → (what one run does, the units, the unit), for each delay."""
    def over_line(millis, batch, more):
        def action(server):
            line = DelayLine(server.port, millis / 1000)
            try:
                server.over(line).sftp(batch(server), more)
            finally:
                line.close()
        return action

    rows = {}
    for millis in [int(word) for word in options.delays_ms.split(",")]:
        put, get = (lambda s: f"put {local}/big {s.folder}/big",
                    lambda s: f"get {s.folder}/big {local}/back")
        for name, batch, more in (("put", put, ()), ("put, 256 requests", put, ("-R", "256")),
                                  ("get", get, ())):
            action = over_line(millis, batch, more)
            rows[f"{name}, {millis} ms"] = (action, options.size_mib, "MiB/s")
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size-mib", type=int, default=1024)
    parser.add_argument("--only", default="")
    parser.add_argument("--delays-ms", default="")
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="compare."))
    local = Path(tempfile.mkdtemp(prefix="compare.", dir="/dev/shm"))
    processes, servers = [], []
    try:
        key = str(work / "id")
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        servers = [start_openssh(work, key, processes), start_gateway(work, key, processes, start_s3(processes))]
        prepare(options, servers, local)
        results = {}
        rows = over_lines(options, local) if options.delays_ms else workloads(options, local)
        for name, (action, units, unit) in rows.items():
            if options.only and name not in options.only.split(","):
                continue
            for _ in range(options.rounds):
                for server in servers:
                    cpu, begun = cpu_seconds(server.pid), time.monotonic()
                    with Peak(server.pid) as peak:
                        action(server)
                    took = time.monotonic() - begun
                    used = cpu_seconds(server.pid) - cpu
                    results.setdefault((name, unit), {}).setdefault(server.name, []).append(
                        (units / took, used, peak.mib))
                    if name.startswith(("get1", "get,")) and server.name == "portcullis":
                        subprocess.run(["cmp", local / "big", local / "back"], check=True)
        report(results)
    finally:
        for process in processes:
            process.terminate()
        for folder in [work, local] + [Path(s.folder) for s in servers if s.folder]:
            shutil.rmtree(folder, ignore_errors=True)


def report(results):
    print("| workload | OpenSSH | Portcullis | ratio | CPU s (OpenSSH / ours) | peak MiB (ours) |")
    print("| --- | --- | --- | --- | --- | --- |")
    for (name, unit), rows in results.items():
        middle = {server: [statistics.median(column) for column in zip(*runs)]
                  for server, runs in rows.items()}
        theirs, ours = middle["openssh"], middle["portcullis"]
        print(f"| {name} | {theirs[0]:.1f} {unit} | {ours[0]:.1f} {unit} | "
              f"{ours[0] / theirs[0]:.2f} | {theirs[1]:.2f} / {ours[1]:.2f} | {ours[2]:.0f} |")


if __name__ == "__main__":
    main()
