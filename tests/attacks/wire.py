"""A small SSH client for what no well-behaved one sends: it has no manners and no threads.

It speaks curve25519 or a finite-field group, AES-128-GCM, and nothing of host keys: who attacks
does not care whom. One call sends or receives one message.
"""

import hashlib
import os
import socket
import struct
import time

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

DISCONNECT, IGNORE, UNIMPLEMENTED, DEBUG = 1, 2, 3, 4
SERVICE_REQUEST, SERVICE_ACCEPT, EXT_INFO = 5, 6, 7
KEXINIT, NEWKEYS, KEX_FIRST, KEX_REPLY = 20, 21, 30, 31
USERAUTH_REQUEST, USERAUTH_FAILURE, USERAUTH_SUCCESS = 50, 51, 52
USERAUTH_BANNER, USERAUTH_PK_OK = 53, 60
GLOBAL_REQUEST = 80
PASSED_OVER = {IGNORE, DEBUG, EXT_INFO, USERAUTH_BANNER, GLOBAL_REQUEST}

CURVE = "curve25519-sha256"
GROUP_14 = "diffie-hellman-group14-sha256"
GROUP_16 = "diffie-hellman-group16-sha512"
HASHES = {CURVE: hashlib.sha256, GROUP_14: hashlib.sha256, GROUP_16: hashlib.sha512}
CIPHER = "aes128-gcm@openssh.com"
HOST_KEYS = "ssh-ed25519,ecdsa-sha2-nistp256,rsa-sha2-512,rsa-sha2-256"


class Closed(Exception):
    """The gateway has ended the connection, or says nothing any more."""


def string(value):
    value = value.encode() if isinstance(value, str) else value
    return struct.pack(">I", len(value)) + value


def mpint(number):
    if number == 0:
        return string(b"")
    return string(number.to_bytes(number.bit_length() // 8 + 1, "big"))


def read_string(text, at):
    (length,) = struct.unpack_from(">I", text, at)
    return text[at + 4 : at + 4 + length], at + 4 + length


def dial(port, source, seconds=20):
    """Opens a TCP connection from an address of this machine."""
    try:
        return socket.create_connection(("127.0.0.1", port), seconds, source_address=(source, 0))
    except OSError as error:
        raise Closed(f"no connection: {error}") from error


class Wire:
    """One connection. Closing it is the caller's: `with Wire(…) as wire`."""

    def __init__(self, port, source, seconds=20):
        self.socket = dial(port, source, seconds)
        self.seconds = seconds
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.session_id = None
        self.keys = {}
        self.service = False
        self.ours, self.theirs = b"SSH-2.0-Visitor_1.0", b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def hello(self):
        """Exchanges version lines."""
        self.raw(self.ours + b"\r\n")
        while b"\n" not in self.received:
            self.more()
        line, _, self.received = self.received.partition(b"\n")
        self.theirs = line.rstrip(b"\r")
        return self

    # ---- packets ----

    def raw(self, data):
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Closed(str(error)) from error

    def more(self):
        try:
            data = self.socket.recv(65_536)
        except OSError as error:
            raise Closed(str(error)) from error
        if not data:
            raise Closed("closed")
        self.received += data

    def take(self, count):
        while len(self.received) < count:
            self.more()
        taken, self.received = self.received[:count], self.received[count:]
        return taken

    def send(self, payload):
        key = self.keys.get("out")
        counted = 1 + len(payload) + (0 if key else 4)
        block = 16 if key else 8
        padding = block - counted % block
        padding += block if padding < 4 else 0
        body = bytes([padding]) + payload + bytes(padding)
        length = struct.pack(">I", len(body))
        self.raw(length + (key.seal(body, length) if key else body))

    def receive(self):
        """The next message that is not merely informative."""
        deadline = time.monotonic() + self.seconds
        while time.monotonic() < deadline:
            payload = self.packet()
            if payload[0] == DISCONNECT:
                raise Closed("disconnected")
            if payload[0] not in PASSED_OVER:
                return payload
        raise Closed("nothing but chatter")

    def packet(self):
        length = self.take(4)
        (count,) = struct.unpack(">I", length)
        if not 0 < count <= 1_000_000:
            raise Closed("no packet")
        key = self.keys.get("in")
        body = key.open(self.take(count + 16), length) if key else self.take(count)
        return body[1 : len(body) - body[0]]

    # ---- key exchange ----

    def offer(self, kex=CURVE):
        lists = [kex, HOST_KEYS, CIPHER, CIPHER, "hmac-sha2-256", "hmac-sha2-256", "none", "none"]
        names = b"".join(string(text) for text in [*lists, "", ""])
        return bytes([KEXINIT]) + os.urandom(16) + names + bytes(5)

    def exchange(self, kex=CURVE):
        """One whole key exchange; with a group, our secret is 1: e = 2 costs us nothing."""
        offer = self.offer(kex)
        self.send(offer)
        answer = self.expect(KEXINIT)
        if kex == CURVE:
            secret = X25519PrivateKey.generate()
            public = secret.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
            ours = string(public)
        else:
            ours = mpint(2)
        self.send(bytes([KEX_FIRST]) + ours)
        reply = self.expect(KEX_REPLY)
        host_key, at = read_string(reply, 1)
        theirs, _ = read_string(reply, at)
        if kex == CURVE:
            shared = secret.exchange(X25519PublicKey.from_public_bytes(theirs))
        else:
            shared = theirs  # f to the power of 1
        shared = mpint(int.from_bytes(shared, "big"))
        parts = [self.ours, self.theirs, offer, answer, host_key]
        text = b"".join(string(part) for part in parts) + ours + string(theirs) + shared
        digest = HASHES[kex](text).digest()
        self.session_id = self.session_id or digest
        self.send(bytes([NEWKEYS]))
        self.expect(NEWKEYS)
        for way, letters in (("out", b"AC"), ("in", b"BD")):
            nonce, key = (self.derive(kex, shared, digest, letters[i : i + 1]) for i in (0, 1))
            self.keys[way] = Key(key[:16], nonce[:12])
        return self

    def derive(self, kex, shared, digest, letter):
        return HASHES[kex](shared + digest + letter + self.session_id).digest()

    def expect(self, kind):
        payload = self.receive()
        if payload[0] != kind:
            raise Closed(f"message {payload[0]} instead of {kind}")
        return payload

    # ---- login ----

    def ready(self):
        """Up to the point where a user can log in."""
        return self.hello().exchange()

    def password(self, user, password):
        """Tries a password: True, False, or Closed."""
        self.ask(user, "password", b"\0" + string(password))
        return self.verdict()

    def offer_key(self, user, kind, blob):
        """Asks whether a key would do, without proving that we have it."""
        self.ask(user, "publickey", b"\0" + string(kind) + string(blob))
        return self.verdict()

    def ask(self, user, method, rest):
        if not self.service:
            self.send(bytes([SERVICE_REQUEST]) + string("ssh-userauth"))
            self.expect(SERVICE_ACCEPT)
            self.service = True
        fields = string(user) + string("ssh-connection") + string(method)
        self.send(bytes([USERAUTH_REQUEST]) + fields + rest)

    def verdict(self):
        kind = self.receive()[0]
        if kind in (USERAUTH_SUCCESS, USERAUTH_PK_OK):
            return True
        if kind == USERAUTH_FAILURE:
            return False
        raise Closed(f"message {kind} instead of a verdict")


class Key:
    """AES-GCM with the counter of RFC 5647."""

    def __init__(self, key, nonce):
        self.cipher, self.nonce = AESGCM(key), nonce

    def next_nonce(self):
        nonce = self.nonce
        counter = (int.from_bytes(nonce[4:], "big") + 1) % 2**64
        self.nonce = nonce[:4] + counter.to_bytes(8, "big")
        return nonce

    def seal(self, body, length):
        return self.cipher.encrypt(self.next_nonce(), body, length)

    def open(self, body, length):
        return self.cipher.decrypt(self.next_nonce(), body, length)
