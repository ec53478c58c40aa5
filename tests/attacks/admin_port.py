"""The operator's port.

Attacked are the probes: when they are not answered, the orchestrator kills the gateway. Idle
connections that ask now and then, and heads that come byte by byte, take the port's places.

Must hold: `/livez` and `/readyz` are answered every time, on the probes' own port as well; the
metrics can be read.
"""

import socket
import time
import urllib.error
import urllib.request

from attack import attack
from scene import STRANGERS

IDLE = 40
SLOW = 40
PROBE_SECONDS_MAX = 2


def takes_places(scene):
    """40 idle connections and 40 slow heads, while the probes are asked."""
    ports = [scene.admin] + ([scene.probe] if scene.probe else [])
    scene.missed = getattr(scene, "missed", [])
    occupiers = [lambda port=port: occupies(scene, port) for port in ports]
    probes = [lambda port=port: probes_are_asked(scene, port) for port in ports]
    scene.at_once(*occupiers, *probes)


def occupies(scene, port):
    """Opens connections that idle or dribble, and opens them again when they are closed."""
    held, began = {}, time.monotonic()
    while not scene.over():
        for number in range(IDLE + SLOW):
            if number not in held:
                held[number] = opens(scene, port, number)
        for number, way in list(held.items()):
            if way is None or not goes_on(way, number, time.monotonic() - began):
                del held[number]
        time.sleep(0.2)
    for way in held.values():
        if way:
            way.close()


def opens(scene, port, number):
    source = STRANGERS[number % len(STRANGERS)]
    try:
        way = socket.create_connection(("127.0.0.1", port), 1, source_address=(source, 0))
        way.setblocking(False)
        scene.act("connections")
        if number < IDLE:
            way.send(b"GET /livez HTTP/1.1\r\nHost: gateway\r\n\r\n")
        return way
    except OSError:
        return None


def goes_on(way, number, seconds):
    """Asks every three seconds, or sends one more byte; says whether it is still open."""
    try:
        if number >= IDLE:
            way.send(b"G" if seconds < 0.3 else b"x")
        elif seconds % 3 < 0.2:
            way.send(b"GET /livez HTTP/1.1\r\nHost: gateway\r\n\r\n")
        return bool(way.recv(65_536))
    except BlockingIOError:
        return True
    except OSError:
        way.close()
        return False


def probes_are_asked(scene, port):
    time.sleep(1)  # until all places are taken
    while not scene.over():
        for path in ("livez", "readyz"):
            scene.act("probes")
            url = f"http://127.0.0.1:{port}/{path}"
            try:
                with urllib.request.urlopen(url, timeout=PROBE_SECONDS_MAX) as response:
                    response.read()
            except (urllib.error.URLError, OSError) as error:
                scene.missed.append(f"{path} on port {port}: {error}")
        time.sleep(0.3)
    if port == scene.admin:
        try:
            scene.metrics()
        except OSError as error:
            scene.missed.append(f"metrics: {error}")


def every_probe_is_answered(scene):
    asked, missed = scene.acts["probes"], scene.missed
    scene.expect(asked >= 4, f"{asked} probes were asked")
    first = "; ".join(missed[:2])
    scene.expect(not missed, f"{len(missed)} of {asked} probes were not answered: {first}")


attack(
    "admin port: idle connections and slow heads",
    check=every_probe_is_answered,
    seconds=(4, 15),
)(takes_places)
