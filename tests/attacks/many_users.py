"""Two hundred users, one of them hostile.

Attacked is what all share: memory for parts, for read-ahead and for sessions, calls to S3, places.
One user asks for files and directories and does not listen, begins uploads and never ends them,
floods, opens all the channels there are, keeps handshakes half open, and is revoked in the middle.

Must hold: beside each of these every transfer of 199 others ends and is exact; one user alone never
has more than half of the sessions' memory, nor more than there is of the rest; at the end every
file is as its user left it, no memory is taken and every upload was completed or aborted.
"""

import contextlib
import itertools
import os
import queue
import struct
import threading
import time

import places
from attack import attack
from processes import run
from scene import PASSWORD, STRANGERS
from visitor import (
    FOR_READING,
    FOR_WRITING,
    OPENDIR,
    READ,
    READDIR,
    STAT,
    Visitor,
)
from wire import Closed, dial, string

USERS = [f"one-of-many-{number:03}" for number in range(199)]
HOSTILE = "mallory"
MIB = 1024 * 1024
SIZES = [1, 1_000, 40_000, 300_000]
# So many users side by side; each has a connection that stays.
AT_WORK = 24
# Of so many users one comes anew in each way, and one has a larger file.
NEWCOMER_EVERY, LARGE_EVERY = 10, 40
LARGE_BYTES = 3 * MIB
LONG_NAMES, LONG_NAME_BYTES = 60, 900
WRITES_AT_ONCE = 24
# More than there is memory for: the others wait until it is given up.
WRITES_BEYOND_MEMORY = 250
# Beyond the small memory that every file has.
FAR_OFFSET = 300_000
HALF_OPEN = 80
SECONDS_MAX = 120
# What an idle session of the others may have of the sessions' memory.
IDLE_BYTES_MAX = 32 * 1024
# Little enough that the hostile user could take it all; of parts' memory there is as much as usual.
SETTINGS = {
    "limits.download_memory_bytes_max": 8 * MIB,
    "limits.read_ahead_per_handle_bytes_max": 4 * MIB,
    "limits.session_memory_bytes_max": 16 * MIB,
}
TAKEN = ("upload_memory", "read_ahead", "session_memory")


def one_is_hostile(scene):
    """The 200th user is hostile in each way in turn; the others go on."""
    crowd = Crowd(scene)
    try:
        crowd.everybody(crowd.come)
        with hostile_user(scene) as visitor:
            prepare(visitor)
        for number, way in enumerate(WAYS):
            began = time.monotonic()
            crowd.way = number
            with way(scene):
                within_share(scene, way.__name__)
                crowd.everybody(crowd.transfer)
                within_share(scene, way.__name__)
            scene.act("hostile ways")
            scene.note(f"{way.__name__}: {time.monotonic() - began:.1f} s")
        crowd.everybody(crowd.compare)
    finally:
        crowd.leave()


class Crowd:
    """The 199 others."""

    def __init__(self, scene):
        self.scene, self.way = scene, 0
        self.inside, self.files = {}, {}

    def everybody(self, body):
        """Does something for every user, some at a time; whatever fails is noted."""
        users = queue.SimpleQueue()
        for number in range(len(USERS)):
            users.put(number)

        def work():
            with contextlib.suppress(queue.Empty):
                while not self.scene.wrong:
                    number = users.get_nowait()
                    try:
                        body(number)
                    except (Closed, AssertionError, OSError) as error:
                        what = f"{USERS[number]}, way {self.way}, {body.__name__}: {error!r}"
                        self.scene.expect(False, what)

        self.scene.at_once(*[work] * AT_WORK)

    def come(self, number):
        wire = self.scene.wire(f"127.0.4.{number + 1}", SECONDS_MAX)
        visitor = Visitor(wire, USERS[number], PASSWORD)
        self.inside[number] = visitor, visitor.session()

    def transfer(self, number):
        """One small upload and download, or a larger one; some log in for it."""
        if number % NEWCOMER_EVERY == self.way % NEWCOMER_EVERY:
            self.inside.pop(number)[0].wire.close()
            self.come(number)
        size = SIZES[(number + self.way) % len(SIZES)]
        body = os.urandom(LARGE_BYTES if number % LARGE_EVERY == self.way else size)
        path, sftp = f"/file-{self.way}", self.inside[number][1]
        sftp.put(path, body)
        self.files[number, path] = body
        if sftp.get(path, len(body)) != body:
            raise AssertionError("other bytes came back")
        self.scene.act("honest transfers", 2)

    def compare(self, number):
        """Everything the user ever uploaded is as it was."""
        for (owner, path), body in self.files.items():
            if owner == number:
                if self.inside[number][1].get(path, len(body)) != body:
                    raise AssertionError(f"{path} has other bytes at the end")
                self.scene.act("honest files at the end")

    def leave(self):
        for visitor, _ in self.inside.values():
            visitor.wire.close()


def within_share(scene, way):
    """No pool has more taken than it has; the sessions' at most half, and what the others have."""
    now = scene.metrics()
    for pool in TAKEN:
        taken = now.sum(f"portcullis_{pool}_taken_bytes")
        limit = now.sum(f"portcullis_{pool}_limit_bytes")
        if pool == "session_memory":
            limit = limit / 2 + len(USERS) * IDLE_BYTES_MAX
        scene.expect(taken <= limit, f"{way}: {pool} has {taken:,.0f} of {limit:,.0f} bytes")


# ---- the hostile user ----


@contextlib.contextmanager
def hostile_user(scene, source=STRANGERS[0]):
    with Visitor(scene.wire(source, SECONDS_MAX), HOSTILE, PASSWORD) as visitor:
        yield visitor


def prepare(visitor):
    """Files and long names to ask for."""
    sftp = visitor.session()
    sftp.put("/large", bytes(4 * MIB))
    for number in range(LONG_NAMES):
        sftp.put(f"/{number:0>{LONG_NAME_BYTES}}", b"")


@contextlib.contextmanager
def unheard_reads(scene):
    """READs of many files whose answers nobody takes."""
    with hostile_user(scene) as visitor:
        for sftp in [visitor.session() for _ in range(5)]:
            handles = [sftp.open("/large", FOR_READING) for _ in range(100)]
            for handle in handles:
                for offset in (0, 2 * MIB):
                    sftp.ask(READ, handle, struct.pack(">QI", offset, 255 * 1024))
                    scene.act("READs")
        yield


@contextlib.contextmanager
def unread_directories(scene):
    """Directories of long names, opened and asked for, and the names not taken."""
    with hostile_user(scene) as visitor:
        for sftp in [visitor.session() for _ in range(10)]:
            for number in range(100):
                sftp.ask(OPENDIR, string("/"))
                scene.act("OPENDIRs")
            for number in range(100):
                sftp.ask(READDIR, string(f"{number:08x}"))
        yield


@contextlib.contextmanager
def single_bytes(scene):
    """One byte each to many files, far from their beginning, again and again."""
    files = WRITES_BEYOND_MEMORY if scene.long else WRITES_AT_ONCE
    with trickling(scene, files=files, begin=FAR_OFFSET):
        yield


@contextlib.contextmanager
def trickles(scene):
    """Uploads that send a byte now and then from the beginning on."""
    with trickling(scene, files=100, begin=0):
        yield


@contextlib.contextmanager
def trickling(scene, *, files, begin):
    with hostile_user(scene) as visitor:
        sftp = visitor.session()
        handles = [sftp.open(f"/slow-{number}", FOR_WRITING) for number in range(files)]

        def write(offset):
            for handle in handles:
                sftp.write(handle, offset, b"x")
                scene.act("WRITEs of a byte")

        write(begin)
        with meanwhile(lambda step: write(begin + 1 + step), pause=0.5):
            yield


@contextlib.contextmanager
def floods(scene):
    """Requests as fast as they are taken."""
    with hostile_user(scene) as visitor:
        sessions = [visitor.session() for _ in range(4)]

        def flood(_):
            for sftp in sessions:
                for number in range(50):
                    sftp.ask(STAT, string(f"/{'x' * 200}{number}"))
            for sftp in sessions:
                for number in range(50):
                    sftp.packet()
            scene.act("requests", 50 * len(sessions))

        with meanwhile(flood, pause=0):
            yield


@contextlib.contextmanager
def all_channels(scene):
    """As many channels as each connection may have, on several of them."""
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            visitor = stack.enter_context(hostile_user(scene))
            while visitor.session():
                scene.act("channels")
        yield


@contextlib.contextmanager
def half_open(scene):
    """Connections that begin a key exchange and never end it."""
    held = []
    try:
        for number in range(HALF_OPEN):
            way = dial(scene.port, STRANGERS[number % 2])
            held.append(way)
            way.sendall(places.begun_exchange())
            scene.act("half-open handshakes")
        yield
    finally:
        for way in held:
            way.close()


@contextlib.contextmanager
def revoked(scene):
    """Uploads, READs and directories under way when the user is thrown out."""
    with trickling(scene, files=WRITES_AT_ONCE, begin=FAR_OFFSET), unheard_reads(scene):
        order = ["admin", "revoke", "--user", HOSTILE, "--at", f"127.0.0.1:{scene.admin}"]
        said = run([scene.binary, *order]).output
        scene.expect("connections ended: 2" in said, f"revoke said {said.strip()!r}")
        yield


@contextlib.contextmanager
def meanwhile(body, *, pause):
    """Does something again and again, until the `with` ends or the gateway cuts it off."""
    over = threading.Event()

    def work():
        with contextlib.suppress(Closed):
            for step in itertools.count():
                body(step)
                if over.wait(pause):
                    break

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(SECONDS_MAX)


WAYS = [
    unheard_reads,
    unread_directories,
    single_bytes,
    trickles,
    floods,
    all_channels,
    half_open,
    revoked,
]


# ---- afterwards ----


def all_were_served(scene):
    ways, phases = len(WAYS), scene.hostile_phases
    scene.expect_equal(scene.acts["hostile ways"], ways * phases, "hostile ways")
    transfers = len(USERS) * ways * phases
    scene.expect_equal(scene.acts["honest transfers"], 2 * transfers, "honest transfers")
    scene.expect_equal(scene.acts["honest files at the end"], transfers, "honest files")
    for what in ("READs", "OPENDIRs", "WRITEs of a byte", "requests", "channels"):
        scene.expect(scene.acts[what] >= 90, f"{scene.acts[what]} {what}: that was no attack")
    every_upload_ended(scene)


def every_upload_ended(scene):
    """As many uploads in parts were ended as were begun."""
    deadline = time.monotonic() + SECONDS_MAX
    while True:
        now = scene.metrics()
        begun, *ended = (
            now.sum("portcullis_s3_calls_total", operation=operation, outcome="done")
            for operation in (
                "CreateMultipartUpload",
                "CompleteMultipartUpload",
                "AbortMultipartUpload",
            )
        )
        if begun == sum(ended) or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    scene.expect_equal(sum(ended), begun, "uploads in parts that were ended")


attack(
    "many users: one of two hundred is hostile",
    check=all_were_served,
    settings=SETTINGS,
    users=USERS,
    # Forty uploads and downloads side by side, and the connections of 200 users and to S3.
    peak_mib_max=192,
    # A line for each transfer and each login, of all phases' 200 users.
    log_bytes_max=8 * MIB,
    # Ten sessions of the hostile user, each with all the calls it may have under way.
    s3_connections_max=10 * 64,
)(one_is_hostile)
