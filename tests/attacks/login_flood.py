"""A flood of logins from one source.

Attacked are the others' names: one source tries wrong passwords of many users, among them the
honest ones, while those log in from their own addresses.

Must hold: the source is locked out, with a line and a count, and the service is asked no more about
it; no honest user is locked out anywhere else.
"""

import secrets

from attack import attack
from scene import STRANGER

FAILURES_PER_SOURCE_MAX = 30
CONNECTIONS = 10


def floods(scene):
    """Wrong passwords of many names from one source."""
    scene.at_once(*(lambda: flood(scene) for _ in range(CONNECTIONS)))


def flood(scene):
    while not scene.over():
        number = secrets.randbelow(40)
        user = f"honest{number:02}" if number < 20 else f"nobody-{secrets.token_hex(4)}"
        scene.tries(user, [f"wrong-{secrets.token_hex(4)}" for _ in range(2)])


def the_source_is_locked(scene):
    asked = scene.questions(source=STRANGER)
    most = (FAILURES_PER_SOURCE_MAX + CONNECTIONS) * scene.hostile_phases
    scene.expect(len(asked) <= most, f"the service was asked {len(asked)} times; allowed: {most}")
    tried, lines = scene.acts["passwords"], scene.log.logins(source_ip=STRANGER)
    scene.expect(tried > 2 * FAILURES_PER_SOURCE_MAX, f"only {tried} passwords: that was no flood")
    locked = [row for row in lines if row.get("reason") == "source-locked-out"]
    scene.expect(locked, "the source was never locked out")
    metrics = scene.metrics()
    counted = metrics.sum("portcullis_logins_total", verdict="denied")
    scene.expect(counted >= len(lines), f"{counted:g} refusals counted, {len(lines)} logged")
    lockouts = metrics.sum("portcullis_lockouts_total")
    scene.expect(lockouts >= 1, "portcullis_lockouts_total does not count the lock-out")


attack(
    "login flood: wrong passwords of many names from one source",
    check=the_source_is_locked,
    settings={"login.failures_per_source_max": FAILURES_PER_SOURCE_MAX},
    seconds=(4, 15),
)(floods)
