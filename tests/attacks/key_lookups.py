"""Key look-ups of invented names.

Attacked are the identity service, which a stranger can have asked about any name by offering any
key, and its knowledge of who exists, which the time of a refusal may tell.

Must hold: the number of names that one source has the service asked about is bounded; a refused
key leaves a line with user, source, fingerprint and reason, and is counted with its reason. How
long the first refusal takes for a name that exists and for one that does not is printed.
"""

import base64
import hashlib
import secrets
import statistics
import time

from attack import attack
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from scene import STRANGER, STRANGERS
from wire import Closed, string

NAMES, NAMES_MIN = 300, 130
# A source that fails with a hundred names is locked out by passwords; look-ups get no more.
NAMES_ASKED_MAX = 100
CONNECTIONS = 10
NAMES_PER_CONNECTION = 5
KIND = "ssh-ed25519"
KNOWN_DELAY_SECONDS = 0.05
# Before the flood, from another source: it would delay what is measured.
SAMPLES = (5, 30)


def invents_names(scene):
    """One source offers keys under names that nobody has; another one listens to the clock."""
    scene.control(delays={f"honest{number:02}": KNOWN_DELAY_SECONDS for number in range(20)})
    compare_times(scene)
    offers_and_leaves(scene)
    scene.prepared()
    scene.at_once(*(lambda: invents(scene) for _ in range(CONNECTIONS)))
    scene.control(delays={})


def invents(scene):
    most, least = (count * scene.hostile_phases for count in (NAMES, NAMES_MIN))
    while scene.acts["names"] < (least if scene.over() else most):
        try:
            with scene.wire() as wire:
                wire.ready()
                for _ in range(NAMES_PER_CONNECTION):
                    scene.act("names")
                    wire.offer_key(f"invented-{secrets.token_hex(4)}", KIND, random_key())
        except Closed:
            time.sleep(0.01)


def compare_times(scene):
    """Notes the median time of the first refusal, for names that exist and that do not."""
    times = {"exists": [], "does not": []}
    for number in range(SAMPLES[scene.long]):
        for what, user in (
            ("exists", f"honest{number % 20:02}"),
            ("does not", f"no-{secrets.token_hex(4)}"),
        ):
            try:
                with scene.wire(STRANGERS[1]) as wire:
                    wire.ready()
                    began = time.monotonic()
                    wire.offer_key(user, KIND, random_key())
                    times[what].append(time.monotonic() - began)
            except Closed:
                pass
    medians = {what: statistics.median(rows) * 1e3 for what, rows in times.items() if rows}
    text = ", ".join(f"{what}: {median:.0f} ms" for what, median in medians.items())
    scene.note(f"first refusal of a key, by whether the name exists: {text}")


def offers_and_leaves(scene):
    """Three keys that nobody listed, for one user, on one connection."""
    scene.offered = [random_key() for _ in range(3)]
    try:
        with scene.wire(STRANGERS[2]) as wire:
            wire.ready()
            for blob in scene.offered:
                scene.act("keys refused")
                wire.offer_key("honest05", KIND, blob)
    except Closed:
        pass


def random_key():
    public = Ed25519PrivateKey.generate().public_key()
    return string(KIND) + string(public.public_bytes(Encoding.Raw, PublicFormat.Raw))


def fingerprint(blob):
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode()
    return "SHA256:" + digest.rstrip("=")


def few_questions_and_a_line_each(scene):
    asked = {row[0] for row in scene.questions(source=STRANGER)}
    asked = [name for name in asked if name.startswith("invented-")]
    tried, most = scene.acts["names"], NAMES_ASKED_MAX * scene.hostile_phases
    scene.expect(tried >= NAMES_MIN, f"only {tried} names were tried")
    scene.note(f"{tried} invented names were tried, {len(asked)} were asked about")
    refused = scene.log.logins(source_ip=STRANGERS[2], user="honest05")
    scene.expect(len(asked) <= most, f"{len(asked)} names were asked about; allowed: {most}")
    reasons = {row.get("reason") for row in scene.log.logins(source_ip=STRANGER)}
    scene.expect("too-many-names" in reasons, f"no line with too-many-names, only {reasons}")
    lines, phases = len(refused), scene.hostile_phases
    wrong = f"{lines} lines about 3 refused keys in each of {phases} connections"
    scene.expect(phases <= lines <= 3 * phases, wrong)
    text = scene.log.text()
    missing = [blob for blob in scene.offered if fingerprint(blob) not in text]
    scene.expect(not missing, f"{len(missing)} of 3 fingerprints are in no line")
    scene.expect(all(row.get("reason") for row in refused), "a line has no reason")
    metrics = scene.metrics()
    counted = metrics.labelled("portcullis_logins_total", "reason")
    scene.expect(counted > 0, "portcullis_logins_total has no reasons")


attack(
    "key look-ups: names that nobody has",
    check=few_questions_and_a_line_each,
    seconds=(4, 15),
)(invents_names)
