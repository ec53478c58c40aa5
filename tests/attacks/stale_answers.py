"""Stale answers.

Attacked is the older answer that stands in while the identity service is out. Users who were in
are removed at the service; before they try their password again, they make the service fail at
other questions, so that it looks as if it were out.

Must hold: none of them comes in again; a user whose own questions alone fail does not either. In
a real outage, the service killed, everybody comes in who was in before; nobody whom the service has
denied since. (Of a removal that nobody asked about the gateway cannot know.)
"""

import time

from attack import attack
from breaker import POISON
from cases import expect
from scene import PASSWORD, STRANGER, STRANGERS

CACHE_SECONDS = 1
REMOVED = [f"removed{number}" for number in range(6)]
# The service fails at whatever is asked about this one, and at nothing else.
BROKEN = "broken"


def comes_back(scene):
    """Users who were just removed poison the service and try their old passwords."""
    insiders = [*REMOVED, BROKEN]
    scene.control(removed=[], statuses={})
    for user in insiders:
        expect(logs_in(scene, user), f"{user} is not let in before the removal")
    scene.control(removed=REMOVED, statuses={BROKEN: 503})
    time.sleep(CACHE_SECONDS + 0.5)
    scene.prepared()
    scene.at_once(
        *(lambda source=source: poison(scene, source) for source in STRANGERS * 2),
        *(lambda at=at, user=user: tries_later(scene, at, user) for at, user in later(insiders)),
    )


def later(insiders):
    """Spreads their attempts: the first ones need some poison before them."""
    return [(0.5 + 0.5 * number, user) for number, user in enumerate(insiders)]


def poison(scene, source):
    number = 0
    while not scene.over():
        number += 1
        scene.tries(f"anybody{number}-{source[-1]}", [POISON, f"{POISON}2"], source)


def tries_later(scene, seconds, user):
    time.sleep(seconds)
    while not scene.over():
        scene.act("old passwords")
        if logs_in(scene, user):
            scene.act("users who came back")
            return
        time.sleep(0.3)


def logs_in(scene, user):
    return scene.tries(user, [PASSWORD], STRANGER)[1]


def nobody_comes_back(scene):
    scene.expect(scene.acts["old passwords"] >= len(REMOVED), "the removed users did not try")
    came = scene.acts["users who came back"]
    scene.expect_equal(came, 0, "removed users who were let in by an older answer")
    scene.service.stop()
    plan = scene.plan["phases"]["quiet"]
    out = [row["user"] for row in plan if row["method"] == "password"]
    scene.deadline = time.monotonic() + 60
    stale_before = stale(scene)
    failed = [row["user"] for row in plan if row["user"] in out and not honest_login(scene, row)]
    scene.expect(not failed, f"in an outage {len(failed)} of {len(out)} are refused: {failed[:5]}")
    scene.expect(stale(scene) > stale_before, "no older answer was counted")
    denied = [user for user in REMOVED if was_denied(scene, user)]
    scene.note(f"{len(denied)} of {len(REMOVED)} removed users were denied by the service")
    back = [user for user in denied if logs_in(scene, user)]
    scene.expect(not back, f"in a real outage removed users come in: {back}")


def was_denied(scene, user):
    """Whether the last thing that the gateway heard of a user was the service's no."""
    lines = scene.log.logins(user=user, source_ip=STRANGER)
    heard = [row for row in lines if row.get("request_id") and row["verdict"] != "unavailable"]
    return bool(heard) and heard[-1]["verdict"] == "denied"


def honest_login(scene, row):
    return scene.tries(row["user"], [PASSWORD], row["source"])[1]


def stale(scene):
    return scene.metrics().sum("portcullis_idp_cache_lookups_total", result="stale")


attack(
    "stale answers: removed users make an outage",
    check=nobody_comes_back,
    settings={
        "identity.cache_seconds": CACHE_SECONDS,
        "identity.cache_stale_seconds": 3_600,
        "limits.refusal_delay_ms": 5,
        # They are to be kept out by the answer, not by a lock-out.
        "login.failures_max": 100_000,
        "login.failures_per_source_max": 100_000,
    },
    # Every name but those of users is poisoned: the service fails at what it cannot look up.
    service={"poison": 500, "unknown": 500},
    users=(*REMOVED, BROKEN),
    seconds=(5, 30),
)(comes_back)
