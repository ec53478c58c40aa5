"""Places before login.

Attacked is the bound on connections that have not logged in. Four hostile addresses take every
place, hold it as long as they are let, and come again at once; silently, with a key exchange that
was only begun, or with one that was finished.

Must hold: of twenty honest logins nineteen get in. And of 150 honest logins in one second, from as
many addresses or from one, none is lost.
"""

import select
import socket
import time

from attack import attack
from scene import PASSWORD, STRANGERS
from wire import Closed, Wire

PLACES = 80
# More than there are places.
HELD = 96
CONNECTS_PER_SECOND_MAX = 2_000
LOGINS = 150


def mixed(scene):
    """Connections that say nothing, that begin a key exchange, and that finish one."""
    scene.at_once(lambda: hold(scene, [b"", begun_exchange()], HELD), lambda: finished(scene))


def silent(scene):
    """Connections that say nothing."""
    hold(scene, [b""], HELD)


def begun(scene):
    """Connections that begin a key exchange and never end it."""
    hold(scene, [begun_exchange()], HELD)


def finished(scene):
    """Connections with a finished key exchange that never log in."""
    share = HELD // len(STRANGERS) // 2
    scene.at_once(*(lambda at=at: hold_ready(scene, at, share) for at in STRANGERS * 2))


def begun_exchange():
    return b"SSH-2.0-Visitor_1.0\r\n" + plain_packet(Offer.offer())


class Offer(Wire):
    """A key exchange offer without a connection."""

    def __init__(self):
        self.keys, self.sent = {}, b""

    def raw(self, data):
        self.sent += data

    @classmethod
    def offer(cls):
        return Wire.offer(cls())


def plain_packet(payload):
    packet = Offer()
    packet.send(payload)
    return packet.sent


def hold(scene, greetings, most):
    """Keeps all places: whatever is closed is opened again, in one thread."""
    poll, held, made, began = select.epoll(), {}, 0, time.monotonic()
    try:
        while not scene.over():
            room = CONNECTS_PER_SECOND_MAX * (time.monotonic() - began + 0.1) - made
            for _ in range(int(min(most - len(held), room))):
                way = begin(scene.port, STRANGERS[made % len(STRANGERS)])
                held[way.fileno()] = way
                poll.register(way, select.EPOLLIN | select.EPOLLOUT)
                made += 1
            for number, event in poll.poll(0.01):
                serve(poll, held, number, event, greetings[number % len(greetings)])
    finally:
        scene.act("connections", made)
        poll.close()
        for way in held.values():
            way.close()


def begin(port, source):
    way = socket.socket()
    way.setblocking(False)
    way.bind((source, 0))
    way.connect_ex(("127.0.0.1", port))
    return way


def serve(poll, held, number, event, greeting):
    """Greets once connected, reads what comes, gives up what is closed."""
    way, gone = held[number], bool(event & (select.EPOLLHUP | select.EPOLLERR))
    try:
        if not gone and event & select.EPOLLOUT:
            poll.modify(way, select.EPOLLIN)
            way.send(greeting)
        if not gone and event & select.EPOLLIN:
            gone = not way.recv(65_536)
    except OSError:
        gone = True
    if gone:
        poll.unregister(way)
        way.close()
        del held[number]


def hold_ready(scene, source, share):
    held = []
    try:
        while not scene.over():
            if len(held) >= share:
                held = [wire for wire in held if is_open(wire)]
                time.sleep(0.01)
                continue
            try:
                wire = scene.wire(source)
                held.append(wire)
                scene.act("connections")
                wire.ready()
            except Closed:
                time.sleep(0.02)
                held[-1:] = [] if held and not is_open(held[-1]) else held[-1:]
    finally:
        for wire in held:
            wire.close()


def is_open(wire):
    """Whether the gateway has not closed it yet."""
    ready, _, _ = select.select([wire.socket], [], [], 0)
    try:
        alive = not ready or bool(wire.socket.recv(65_536))
    except OSError:
        alive = False
    if not alive:
        wire.close()
    return alive


def places_were_short(scene):
    tried = scene.acts["connections"]
    scene.expect(tried >= HELD, f"{tried} hostile connections: that was no attack")
    given_up = scene.metrics().sum("portcullis_connections_refused_total")
    scene.expect(given_up > 0, "portcullis_connections_refused_total counts nothing")
    messages = {row.get("message", "") for row in scene.log.rows()}
    said = [text for text in messages if "connection refused" in text or "make room" in text]
    scene.expect(said, "no line says that connections were given up")


for hostile, what in ((mixed, "mixed"), (silent, "silent"), (begun, "begun"), (finished, "ready")):
    attack(
        f"places: four addresses take them all, {what}",
        check=places_were_short,
        settings={"limits.unauthenticated_connections_max": PLACES},
        lost_logins_percent_max=5,
        seconds=(4, 15),
        long_only=hostile is not mixed,
    )(hostile)


def all_at_once(scene):
    """150 logins in the same second: each from its own address, then all from one."""
    for one in (False, True):
        sources = ["127.0.3.1" if one else f"127.0.2.{number + 1}" for number in range(LOGINS)]
        wires = []
        try:
            for source in sources:
                wires.append(scene.wire(source, seconds=60))
            scene.at_once(*(lambda wire=wire: log_in(scene, wire) for wire in wires))
        except Closed as error:
            scene.note(f"a connection was refused: {error}")
        finally:
            for wire in wires:
                wire.close()


def log_in(scene, wire):
    scene.act("logins")
    try:
        if wire.ready().password("target", PASSWORD):
            scene.act("logins that got in")
    except Closed:
        pass


def none_is_lost(scene):
    wanted = 2 * LOGINS * scene.hostile_phases
    scene.expect_equal(scene.acts["logins that got in"], wanted, "honest logins that got in")


attack("places: 150 honest logins in one second", check=none_is_lost, seconds=(1, 5))(all_at_once)
