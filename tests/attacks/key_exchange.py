"""Processor before login.

Attacked is the arithmetic of key exchanges, which costs the gateway far more than the client: e = 2
in a finite-field group, again and again on one connection; and the parser of what comes first.

Must hold: with `ssh.algorithms = "modern"`, the default, no finite-field group is done at all; a
connection gets one key exchange before login and no second one; garbage and the largest packets end
the connection, and neither the memory nor the log grows with them.
"""

import os
import struct

from attack import attack
from wire import CURVE, GROUP_14, GROUP_16, IGNORE, KEXINIT, Closed

THREADS = 6
PACKET_BYTES = 256 * 1024


def again(scene, kex):
    """One connection after another: the same key exchange for as long as it is served."""
    while not scene.over():
        done = 0
        try:
            with scene.wire() as wire:
                wire.hello()
                scene.act("connections")
                while not scene.over():
                    wire.exchange(kex)
                    done += 1
                    scene.act(f"key exchanges, {kex.split('-sha')[0]}")
        except Closed:
            pass
        scene.most = max(getattr(scene, "most", 0), done)


def finite_field(scene):
    """e = 2 in the groups 16 and 14, again and again before login."""
    kinds = [GROUP_16, GROUP_14] * (THREADS // 2)
    scene.at_once(*(lambda kex=kex: again(scene, kex) for kex in kinds))


def curves(scene):
    """A cheap key exchange, again and again before login."""
    scene.at_once(*(lambda: again(scene, CURVE) for _ in range(THREADS)))


def no_finite_field(scene):
    done = sum(count for what, count in scene.acts.items() if "hellman" in what)
    scene.expect(scene.acts["connections"] > 0, "nobody attacked")
    scene.expect_equal(done, 0, "key exchanges in finite-field groups by default")


def one_each(scene):
    scene.expect(scene.acts["connections"] > 1, "nobody attacked")
    scene.expect_equal(scene.most, 1, "key exchanges of one connection before login")


attack("key exchange: e = 2, by default", check=no_finite_field, seconds=(4, 60))(finite_field)
attack(
    "key exchange: e = 2 where groups are allowed",
    check=one_each,
    settings={"ssh.algorithms": "compatible"},
    seconds=(4, 60),
)(finite_field)
attack("key exchange: again before login", check=one_each, seconds=(3, 60))(curves)


def garbage(scene):
    """Offers that are none, and packets of 256 KiB, before and after the first key exchange."""
    kinds = [nonsense, cut_short, long_names, large_first, large_later, lying_length]
    scene.at_once(*(lambda kind=kind: sends(scene, kind) for kind in kinds))


def sends(scene, kind):
    while not scene.over():
        try:
            with scene.wire(seconds=5) as wire:
                scene.act("connections")
                wire.hello()
                kind(scene, wire)
                wire.receive()
        except Closed:
            pass


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
    scene.expect(scene.acts["connections"] >= 20, "hardly any garbage was sent")


attack(
    "key exchange: garbage and large packets",
    check=garbage_is_nothing,
    peak_mib_max=256,
    seconds=(4, 60),
)(garbage)
