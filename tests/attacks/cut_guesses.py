"""Guesses that are cut.

Attacked is the counting of wrong passwords. The stranger sends a guess just before the login grace
ends and the service needs longer than what is left: the connection is cut before the answer. With
a cache the answer might be remembered, so that asking again at the same moment tells a right guess
from a wrong one at once.

Must hold: whatever the service was asked has a line; after `login.failures_max` the user is locked
out at that source; the right password among the guesses lets nobody in.
"""

import time

from attack import attack
from scene import PASSWORD, STRANGER
from wire import Closed

GRACE_SECONDS = 5
TOTAL_TIMEOUT_SECONDS = 1.5
SERVICE_SECONDS = 0.4
FAILURES_MAX = 3
# How much of the grace is left when a guess is sent: too little for an answer; just enough.
TARGETS = {"target": SERVICE_SECONDS / 2, "mallory": TOTAL_TIMEOUT_SECONDS + 0.5}
# The right one comes long after the lock-out.
GUESSES = [f"guess-{number:02}" for number in range(16)] + [PASSWORD] + ["last-1", "last-2"]
APART_SECONDS = 0.1


def just_before_the_end(scene):
    """Every guess is sent just before its connection is cut, and then once more."""
    scene.control(delays=dict.fromkeys(TARGETS, SERVICE_SECONDS))
    guesses = [
        (user, left, number * APART_SECONDS, guess)
        for user, left in TARGETS.items()
        for number, guess in enumerate(GUESSES)
    ]
    scene.at_once(*(lambda guess=guess: twice(scene, *guess) for guess in guesses))


def twice(scene, user, left, wait, guess):
    time.sleep(wait)
    for _ in range(2):
        late(scene, user, guess, left)


def late(scene, user, guess, left):
    """Sends one guess when `left` seconds of the grace are left."""
    opened = time.monotonic()
    try:
        with scene.wire() as wire:
            wire.ready()
            time.sleep(max(0, opened + GRACE_SECONDS - left - time.monotonic()))
            scene.act("guesses")
            if wire.password(user, guess):
                scene.act("passwords found")
    except Closed:
        pass


def counted_and_written_down(scene):
    scene.expect(scene.acts["guesses"] >= len(GUESSES), "hardly any guess was sent")
    scene.expect_equal(scene.acts["passwords found"], 0, "passwords found")
    for user in TARGETS:
        of_one(scene, user)
    metrics = scene.metrics()
    finished = metrics.sum("portcullis_logins_total")
    refused = finished - metrics.sum("portcullis_logins_total", verdict="allowed")
    lines = scene.log.logins(source_ip=STRANGER, message="login refused")
    scene.expect(refused >= len(lines) > 0, f"{refused:g} refusals counted, {len(lines)} lines")


def of_one(scene, user):
    asked = scene.questions(source=STRANGER, name=user)
    lines = scene.log.logins(user=user, source_ip=STRANGER)
    with_question = [row for row in lines if row.get("request_id")]
    scene.note(f"{user}: {len(asked)} questions, {len(lines)} lines")
    most = (2 * FAILURES_MAX - 1) * scene.hostile_phases
    scene.expect(len(asked) <= most, f"{user}: {len(asked)} questions; allowed: {most}")
    scene.expect(
        len(with_question) >= len(asked),
        f"{user}: {len(asked)} questions were asked, {len(with_question)} have a line",
    )
    scene.expect(lines, f"{user}: no guess left a line")
    locked = any(row.get("reason") == "locked-out" for row in lines)
    scene.expect(locked or len(asked) < FAILURES_MAX, f"{user}: no lock-out")


attack(
    "cut guesses: passwords sent just before the grace ends",
    check=counted_and_written_down,
    settings={
        "limits.login_grace_seconds": GRACE_SECONDS,
        "limits.hello_timeout_seconds": GRACE_SECONDS,
        "identity.total_timeout_ms": int(TOTAL_TIMEOUT_SECONDS * 1000),
        "identity.connect_timeout_ms": 1_000,
        "identity.cache_seconds": 300,
        "login.failures_max": FAILURES_MAX,
        "sts.timeout_ms": 1_000,
    },
    seconds=(4, 4),
)(just_before_the_end)
