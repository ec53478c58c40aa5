#!/usr/bin/env python3
"""Measures what a stranger's messages cost the gateway: processor time and bytes, each.

  cargo build --release
  target/venv/bin/python tests/bench/before_login.py [--binary PATH] [--count 300]

The gateway runs as `serve` with host keys of three kinds and `ssh.algorithms = "compatible"`. The
stranger does no arithmetic of its own: its share of a key exchange is a number or a point that
everybody knows (2, a curve's base point), so it pays for bytes alone. Needs the packages of
tests/clients/requirements.txt and ssh-keygen. Prints the table of docs/security.md.
"""
import argparse, logging, os, socket, statistics, struct, subprocess, tempfile, time
from pathlib import Path

import paramiko
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ROOT = Path(__file__).resolve().parents[2]
TICKS = os.sysconf("SC_CLK_TCK")
CIPHERS, MACS = b"aes256-gcm@openssh.com", b"hmac-sha2-256"


def base_point(curve):
    key = ec.derive_private_key(1, curve).public_key()
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


X25519 = (9).to_bytes(32, "little")
EXCHANGES = {
    "curve25519-sha256": X25519,
    # A matrix seed and a vector of zeros are a valid public key.
    "mlkem768x25519-sha256": bytes(1184) + X25519,
    "ecdh-sha2-nistp256": base_point(ec.SECP256R1()),
    "ecdh-sha2-nistp384": base_point(ec.SECP384R1()),
    "ecdh-sha2-nistp521": base_point(ec.SECP521R1()),
    "diffie-hellman-group14-sha256": b"\x02",
    "diffie-hellman-group16-sha512": b"\x02",
}


def string(data):
    return struct.pack(">I", len(data)) + data


def packet(payload):
    padding = 4 + -(5 + len(payload) + 4) % 8
    return struct.pack(">IB", len(payload) + padding + 1, padding) + payload + bytes(padding)


def offer(exchange, host_key):
    lists = [exchange, host_key, CIPHERS, CIPHERS, MACS, MACS, b"none", b"none", b"", b""]
    return b"\x14" + bytes(16) + b"".join(map(string, lists)) + bytes(5)


def processor_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def settled(pid):
    """The gateway's processor time, once it has nothing left to do."""
    before = processor_seconds(pid)
    while True:
        time.sleep(0.3)
        now = processor_seconds(pid)
        if now == before:
            return now
        before = now


def read_exactly(sock, count):
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def read_packet(sock):
    return read_exactly(sock, struct.unpack(">I", read_exactly(sock, 4))[0])


def stranger(port, packets, answers):
    """Connects, sends packets in clear and waits for as many answers; returns the bytes sent."""
    data = b"SSH-2.0-stranger\r\n" + b"".join(map(packet, packets))
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(data)
        while read_exactly(sock, 1) != b"\n":
            pass
        for _ in range(answers):
            read_packet(sock)
    return len(data)


def unencrypted(port):
    """Rows of what can be sent before there are keys: (name, what does it once)."""
    yield "a connection with its version line", lambda: stranger(port, [], 0)
    first = offer(b"curve25519-sha256", b"ssh-ed25519")
    yield "and its offer (`KEXINIT`)", lambda: stranger(port, [first], 1)
    for exchange, public in EXCHANGES.items():
        host_keys = ["ssh-ed25519"]
        if exchange == "curve25519-sha256":
            host_keys += ["ecdsa-sha2-nistp256", "rsa-sha2-512"]
        for host_key in host_keys:
            packets = [offer(exchange.encode(), host_key.encode()), b"\x1e" + string(public)]
            name = f"and a key exchange: `{exchange}`, host key `{host_key}`"
            yield name, lambda packets=packets: stranger(port, packets, 2)


def message(*parts):
    built = paramiko.Message()
    for part in parts:
        if isinstance(part, bool):
            built.add_boolean(part)
        elif isinstance(part, int):
            built.add_byte(bytes([part]))
        else:
            built.add_string(part)
    return built


def encrypted():
    """Rows of what can be sent after the key exchange: (name, the message)."""
    yield "`IGNORE` of 32 KiB", message(2, bytes(32 * 1024))
    yield "an unknown message", message(192)
    yield "a repeated service request", message(5, "ssh-userauth")


def measure(pid, once, count):
    once()
    rounds = []
    for _ in range(3):
        before = settled(pid)
        for _ in range(count):
            sent = once()
        rounds.append((settled(pid) - before) / count)
    return statistics.median(rounds) * 1e6, sent


def measure_encrypted(pid, port, built, count):
    transport = paramiko.Transport(("127.0.0.1", port))
    transport.start_client()
    # Answers come while this thread sends; nobody waits for them.
    transport._expected_packet = tuple()
    transport._handler_table = {**transport._handler_table, 6: lambda *_: None}
    if built.asbytes()[:1] == b"\x05":
        transport._send_user_message(message(5, "ssh-userauth"))
    before = settled(pid)
    for _ in range(count):
        transport._send_user_message(built)
    spent = settled(pid) - before
    transport.close()
    return spent / count * 1e6, len(built.asbytes()) + 32


def start(binary, directory):
    keys = []
    for kind in (["ed25519"], ["ecdsa", "-b", "256"], ["rsa", "-b", "2048"]):
        keys.append(directory / kind[0])
        subprocess.run(["ssh-keygen", "-q", "-N", "", "-f", keys[-1], "-t", *kind], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = directory / "portcullis.toml"
    config.write_text(
        f'listen = "127.0.0.1:{port}"\n'
        f"host_key_files = {[str(key) for key in keys]}\n"
        '[identity]\nurl = "http://127.0.0.1:9/"\n'
        '[ssh]\nalgorithms = "compatible"\n'
        "[limits]\nlogin_grace_seconds = 600\nkeepalive_interval_seconds = 600\n"
        '[storage]\naccess_key_id = "x"\nsecret_access_key = "x"\nendpoint = "http://127.0.0.1:9"\n'
        '[admin]\nlisten = "off"\n[log]\nfilter = "error"\n'
    )
    process = subprocess.Popen([binary, "serve", "--config", config])
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return process, port
        except OSError:
            time.sleep(0.05)
    raise SystemExit("the gateway does not listen")


def main():
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)  # it says of each answer that it knows none
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--binary", default=ROOT / "target/release/portcullis")
    parser.add_argument("--count", type=int, default=300)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        process, port = start(options.binary, Path(directory))
        try:
            print("| what a stranger sends | bytes | processor time |\n| --- | --- | --- |")
            for name, once in unencrypted(port):
                micros, sent = measure(process.pid, once, options.count)
                print(f"| {name} | {sent:,} | {micros:,.0f} µs |", flush=True)
            for name, built in encrypted():
                micros, sent = measure_encrypted(process.pid, port, built, 10 * options.count)
                print(f"| {name} | {sent:,} | {micros:,.1f} µs |", flush=True)
        finally:
            process.terminate()
            process.wait()


main()
