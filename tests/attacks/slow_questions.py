"""Slow questions.

Attacked is the identity service's time: it needs five seconds for a name that it does not know,
and one address asks as many such questions at once as it may open connections.

Must hold: no more than `identity.questions_max` questions are under way, eight of one source; the
others are refused as `provider-busy`; honest users who were in before get in.
"""

import secrets

from attack import attack
from scene import STRANGER

SLOW_SECONDS = 5
# As many as one source may have open before login.
AT_ONCE = 170
QUESTIONS_MAX = 64
QUESTIONS_PER_SOURCE_MAX = 8


def asks_slowly(scene):
    """One address asks about names that the service takes five seconds for."""
    scene.at_once(*(lambda: asks(scene) for _ in range(AT_ONCE)))


def asks(scene):
    while not scene.over():
        scene.tries(f"unknown-{secrets.token_hex(4)}", ["any", "other"])


def questions_are_bounded(scene):
    counts = scene.counts()
    scene.expect(scene.acts["passwords"] >= AT_ONCE, f"only {scene.acts['passwords']} were asked")
    most = counts["under_way_most"]
    of_source = counts["under_way_most_by_source"].get(STRANGER, 0)
    scene.note(f"questions under way: {most} at most, {of_source} of the stranger's")
    scene.expect(most <= QUESTIONS_MAX, f"{most} questions at once; allowed: {QUESTIONS_MAX}")
    allowed = QUESTIONS_PER_SOURCE_MAX
    scene.expect(of_source <= allowed, f"{of_source} questions of one source; allowed: {allowed}")
    busy = scene.log.logins(source_ip=STRANGER, reason="provider-busy")
    scene.expect(busy, "no line with provider-busy")
    counted = scene.metrics().sum("portcullis_logins_total", reason="provider-busy")
    scene.expect(counted >= len(busy), f"{counted:g} counted as provider-busy, {len(busy)} logged")


attack(
    "slow questions: five seconds for names that nobody has",
    check=questions_are_bounded,
    service={"unknown_delay": SLOW_SECONDS},
    settings={"limits.login_grace_seconds": 11, "identity.total_timeout_ms": 6_000},
    seconds=(4, 15),
)(asks_slowly)
