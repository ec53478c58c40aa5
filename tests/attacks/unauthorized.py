"""A service that answers 401 to a wrong password.

Attacked is the lock-out: an answer that may be about the gateway's own authorization must not make
guesses free, since 401 is what most services answer to a wrong password.

Must hold: the pair of user and source is locked out after `login.failures_max`, with a line and a
count; another user at the same source gets in, and so does the user from elsewhere.
"""

import time

from attack import attack
from scene import PASSWORD, STRANGER

FAILURES_MAX = 5
GUESSES = 30


def guesses(scene):
    """Wrong passwords of one user from one source, several connections side by side."""
    scene.at_once(*(lambda start=start: guess(scene, start) for start in range(0, GUESSES, 3)))


def guess(scene, start):
    scene.tries("honest07", [f"wrong-{number}" for number in range(start, start + 3)])


def the_pair_is_locked(scene):
    asked = scene.questions(source=STRANGER, name="honest07")
    most = (2 * FAILURES_MAX - 1) * scene.hostile_phases
    scene.expect(len(asked) <= most, f"{len(asked)} guesses were asked about; allowed: {most}")
    lines = scene.log.logins(user="honest07", source_ip=STRANGER)
    tried = scene.acts["passwords"]
    scene.expect(len(lines) == tried, f"{tried} guesses were tried, {len(lines)} have a line")
    locked = [row for row in lines if row.get("reason") == "locked-out"]
    scene.expect(locked, "the user is not locked out at the stranger's source")
    lockouts = scene.metrics().sum("portcullis_lockouts_total")
    scene.expect(lockouts >= 1, "portcullis_lockouts_total does not count the lock-out")
    named = [row for row in scene.log.rows() if "locked out" in row.get("message", "")]
    named = [row for row in named if row.get("user") == "honest07"]
    scene.expect(named, "the line of the lock-out does not name the user")
    scene.deadline = time.monotonic() + 60
    scene.expect(
        scene.tries("mallory", [PASSWORD])[1],
        "another user at the stranger's source does not get in",
    )


for status in (401, 403):
    attack(
        f"unauthorized: a service that answers {status} to wrong passwords",
        check=the_pair_is_locked,
        settings={"login.failures_max": FAILURES_MAX, "limits.refusal_delay_ms": 5},
        service={"wrong": status},
        seconds=(3, 20),
        long_only=status == 403,
    )(guesses)
