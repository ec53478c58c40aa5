"""Strangers' questions and the circuit breaker.

Attacked is the memory of how healthy the identity service is. A service may answer one question
badly because of what the question is: 500 to a password that it cannot store, 404 for a name that
it does not know, 502 to a wrong password behind functions that raise, nothing at all for one name.
A stranger asks such questions as fast as one address can.

Must hold: every honest login with the right password gets in, also of users who were never seen
before; no circuit breaker opens; each of the stranger's attempts leaves a line and is counted.
"""

import secrets

from attack import attack
from scene import STRANGER

POISON = "\N{CRAB}" * 3
ATTEMPTS_PER_CONNECTION = 6


def unhealthy(scene):
    """One address asks whatever makes the service answer with an error, or not at all."""
    kinds = [invented, poisoned, guessed, hanging]
    scene.at_once(*(lambda kind=kind: asks(scene, kind) for kind in kinds * 2))


def asks(scene, kind):
    while not scene.over():
        user, password = kind()
        scene.tries(user, [f"{password}{number}" for number in range(ATTEMPTS_PER_CONNECTION)])


def invented():
    return f"nobody-{secrets.token_hex(4)}", "any"


def poisoned():
    return f"anybody-{secrets.token_hex(4)}", POISON


def guessed():
    return f"honest{secrets.randbelow(20):02}", f"guess-{secrets.token_hex(4)}"


def hanging():
    return "hanging", "any"


def breaker_stays_shut(scene):
    metrics = scene.metrics()
    scene.expect_equal(metrics.sum("portcullis_idp_breaker_open"), 0, "open circuit breakers")
    refused = scene.log.logins(source_ip=STRANGER)
    reasons = {row.get("reason") for row in refused}
    scene.expect("breaker-open" not in reasons, "the circuit breaker opened for the stranger")
    asked = [row for row in scene.questions(source=STRANGER) if row[4] != 200]
    scene.expect(len(asked) >= 10, f"only {len(asked)} bad answers: that was no attack")
    counted = sum(
        metrics.sum("portcullis_logins_total", verdict=verdict)
        for verdict in ("denied", "invalid", "unavailable")
    )
    scene.expect(counted >= len(refused) > 0, f"{counted:g} counted, {len(refused)} logged")


attack(
    "breaker: a service that fails at some questions",
    check=breaker_stays_shut,
    newcomers=True,
    settings={
        "identity.total_timeout_ms": 2_000,
        "identity.connect_timeout_ms": 1_000,
        "limits.refusal_delay_ms": 50,
    },
    service={"unknown": 404, "wrong": 502, "poison": 500, "hangs": ["hanging"]},
)(unhealthy)

for status in (400, 404, 409, 410, 422, 429, 500, 502, 503, 504):
    attack(
        f"breaker: a service that answers {status} to all it dislikes",
        check=breaker_stays_shut,
        newcomers=True,
        service={"unknown": status, "wrong": status, "poison": status},
        seconds=(4, 20),
        long_only=True,
    )(unhealthy)
