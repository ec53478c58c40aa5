"""Processor before login.

Attacked is the arithmetic of key exchanges, which costs the gateway far more than the client: e = 2
in a finite-field group, again and again on one connection; and the parser of what comes first.

Must hold: with `ssh.algorithms = "modern"`, the default, no finite-field group is done at all; a
connection gets one key exchange before login and no second one; garbage and the largest packets end
the connection, and neither the memory nor the log grows with them.
"""

import os
import struct
import time

from attack import attack
from wire import CURVE, GROUP_14, GROUP_16, IGNORE, KEXINIT, Closed

THREADS = 6
PACKET_BYTES = 256 * 1024
# A connection that breaks the protocol has a line, whatever it broke.
CONNECTIONS = ("connections", "pieces of garbage")


def again(scene, first, then):
    """One connection after another: key exchanges for as long as they are served."""
    while not scene.over():
        done, kex = 0, first
        try:
            with scene.wire() as wire:
                wire.hello()
                scene.act("connections")
                # The second one is tried however long the first took.
                while done < 2 or not scene.over():
                    wire.exchange(kex)
                    scene.act(f"key exchanges, {kex.split('-sha')[0]}")
                    done, kex = done + 1, then
        except Closed:
            time.sleep(0.05)
        scene.most = max(getattr(scene, "most", 0), done)


def finite_field(scene):
    """e = 2 in the groups 16 and 14, again and again before login."""
    kinds = [(GROUP_16, GROUP_16), (GROUP_14, GROUP_14), (GROUP_14, CURVE)] * (THREADS // 3)
    scene.at_once(*(lambda kinds=kinds: again(scene, *kinds) for kinds in kinds))


def curves(scene):
    """A cheap key exchange, again and again before login."""
    scene.at_once(*(lambda: again(scene, CURVE, CURVE) for _ in range(THREADS // 2)))


def everything(scene):
    """Finite-field groups, second key exchanges and garbage side by side."""
    scene.at_once(lambda: finite_field(scene), lambda: curves(scene), lambda: garbage(scene))


def no_finite_field(scene):
    done = sum(count for what, count in scene.acts.items() if "hellman" in what)
    scene.expect(scene.acts["connections"] > 0, "nobody attacked")
    scene.expect_equal(done, 0, "key exchanges in finite-field groups by default")


def one_each(scene):
    scene.expect(scene.acts["connections"] > 1, "nobody attacked")
    scene.expect_equal(scene.most, 1, "key exchanges of one connection before login")


def garbage(scene):
    """Offers that are none, and packets of 256 KiB, before and after the first key exchange."""
    kinds = [nonsense, cut_short, long_names, large_first, large_later, lying_length]
    scene.at_once(*(lambda kind=kind: sends(scene, kind) for kind in kinds))


def sends(scene, kind):
    while not scene.over():
        try:
            with scene.wire(seconds=5) as wire:
                scene.act("pieces of garbage")
                wire.hello()
                kind(scene, wire)
                wire.receive()
        except Closed:
            time.sleep(0.05)


def nonsense(_, wire):
    wire.send(bytes([KEXINIT]) + os.urandom(400))


def cut_short(_, wire):
    offer = wire.offer()
    wire.send(offer[: 17 + os.urandom(1)[0] % (len(offer) - 17)])


def long_names(_, wire):
    wire.send(wire.offer(",".join(["x" * 60] * 500)))


def large_first(scene, wire):
    flood(scene, wire)


def large_later(scene, wire):
    wire.exchange()
    flood(scene, wire)


def flood(scene, wire):
    """Packets that mean nothing, as large as they may be, for as long as they are taken."""
    text = bytes([IGNORE]) + struct.pack(">I", PACKET_BYTES - 64) + bytes(PACKET_BYTES - 64)
    for _ in range(200):
        if scene.over():
            return
        wire.send(text)
        scene.act("packets of 256 KiB")


def lying_length(_, wire):
    wire.raw(struct.pack(">I", 0xFFFF_FFF0) + os.urandom(4096))


def garbage_is_nothing(scene):
    scene.expect(scene.acts["pieces of garbage"] >= 6, "hardly any garbage was sent")


def all_of_it(scene):
    no_finite_field(scene)
    one_each(scene)
    garbage_is_nothing(scene)


attack(
    "key exchange: groups, second ones and garbage, by default",
    check=all_of_it,
    with_a_line=CONNECTIONS,
    seconds=(4, 15),
)(everything)
attack(
    "key exchange: e = 2 where groups are allowed",
    check=one_each,
    with_a_line=CONNECTIONS,
    settings={"ssh.algorithms": "compatible"},
    seconds=(4, 15),
)(finite_field)
for hostile, check in ((curves, one_each), (garbage, garbage_is_nothing)):
    attack(
        f"key exchange: {hostile.__name__} alone",
        check=check,
        with_a_line=CONNECTIONS,
        seconds=(4, 15),
        long_only=True,
    )(hostile)
