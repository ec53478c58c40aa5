"""How a case is written: a function of the set-up and the material, registered by its name."""

import dataclasses

from processes import Failed


class Skipped(Exception):
    """A case that cannot work here; the text says why."""


@dataclasses.dataclass
class Material:
    """What all cases of a set-up share, made once."""

    tree: object
    big: object
    big_sha256: str
    listing: int


@dataclasses.dataclass
class Case:
    name: str
    body: object
    big: bool


CASES = []


def case(name, *, big=False):
    """Registers a case; a big one moves a large file and is left out of a quick run."""

    def register(body):
        CASES.append(Case(name, body, big))
        return body

    return register


def expect(truth, otherwise):
    """Fails the case with the text unless `truth` holds."""
    if not truth:
        raise Failed(otherwise)


def expect_equal(found, wanted, what):
    if found != wanted:
        raise Failed(f"{what}: {str(found)[:600]!r} instead of {str(wanted)[:600]!r}")
