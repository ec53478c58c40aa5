"""How an attack is written: a function of the scene, registered with what must hold beside it."""

import dataclasses

# What a gateway may take that serves twenty sessions and is attacked, unless an attack says less.
PEAK_MIB_MAX = 160
# Acts that may have a line each; whatever else is done must not make the log grow.
WITH_A_LINE = ("passwords", "guesses", "names", "keys refused", "logins", "old passwords")


@dataclasses.dataclass
class Attack:
    """One attack, or one variant of it."""

    name: str
    hostile: object
    check: object
    settings: dict = dataclasses.field(default_factory=dict)
    service: dict = dataclasses.field(default_factory=dict)
    peak_mib_max: int = PEAK_MIB_MAX
    # Connections to S3 that are kept for the next call: as many as were in use at once.
    s3_connections_max: int = 128
    # Bytes of the log in each hostile phase, beyond the lines of honest sessions and of acts.
    log_bytes_max: int = 256 * 1024
    with_a_line: tuple = WITH_A_LINE
    # Seconds of the hostile phase: in the short form and in the long one.
    seconds: tuple = (4, 60)
    # How many in a hundred honest rounds may fail to get in.
    lost_logins_percent_max: int = 0
    # Half of the honest users of a hostile phase were never seen before.
    newcomers: bool = False
    # Further users whom the service knows.
    users: tuple = ()
    long_only: bool = False
    log_format: str = "json"


ATTACKS = []


def attack(name, *, check, **fields):
    """Registers an attack; the decorated function is the hostile client, `check` what must hold.

    The hostile client returns when `scene.over()`; what it did, it counts in `scene.acts`.
    """

    def register(hostile):
        ATTACKS.append(Attack(name, hostile, check, **fields))
        return hostile

    return register

