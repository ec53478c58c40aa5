#!/usr/bin/env python3
"""Measures what an attack costs the others: each one without and with the hostile client, in turn.

  cargo build --release --workspace
  python3 tests/bench/attacks.py [--rounds 3] [--only TEXT] [--lowest]

Plays the attacks of tests/attacks (with its Python packages) and prints a table of medians: login,
upload, listing and download of twenty honest sessions with the attack, over those without it, and
the gateway's processor time. Nothing is judged here; what must hold is asserted by
tests/attacks/run.py.

With --lowest the hostile client runs only while nobody else wants to (SCHED_IDLE): on a machine of
its own it would take no processor from the gateway and the honest clients, and here it takes only
what they leave.
"""

import argparse
import multiprocessing
import pathlib
import statistics
import sys
import tempfile

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "tests/attacks"), str(REPOSITORY / "tests/clients")]

from attack import ATTACKS  # noqa: E402
from play import play  # noqa: E402
from scene import PHASES_MAX  # noqa: E402

import every  # noqa: E402,F401 - registers every attack

STEPS = ("login", "upload", "listing", "download")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", default=REPOSITORY / "target/release/portcullis")
    parser.add_argument("--rounds", type=int, default=3, choices=range(1, PHASES_MAX + 1))
    parser.add_argument("--only", default="", help="attacks whose name holds this text")
    parser.add_argument("--lowest", action="store_true", help="lowest priority for the attack")
    options = parser.parse_args()
    binary = pathlib.Path(options.binary).resolve()
    head = " | ".join(f"{step} ms, ratio" for step in STEPS)
    print(f"| attack | {head} | processor, without / with |")
    print("| --- " * (len(STEPS) + 2) + "|")
    with tempfile.TemporaryDirectory(prefix="portcullis-attacks-") as directory:
        for number, attack in enumerate(ATTACKS):
            if options.only in attack.name and not attack.long_only:
                folder = pathlib.Path(directory, str(number))
                arguments = (number, binary, folder, options.rounds, options.lowest)
                # In a process of its own: who has a lower priority cannot take it back.
                with multiprocessing.get_context("fork").Pool(1) as pool:
                    line, wrong = pool.apply(played_row, arguments)
                if wrong:
                    sys.exit(f"{attack.name}: {'; '.join(wrong)}")
                print(line, flush=True)


def played_row(number, binary, folder, rounds, lowest):
    """Plays an attack; returns its line and what went wrong."""
    attack = ATTACKS[number]
    played = play(attack, binary, folder, rounds=rounds, asserting=False, lowest=lowest)
    return (None if played.wrong else row(played)), played.wrong


def row(played):
    """One line of the table."""
    cells = [cell(played, step) for step in STEPS]
    without, under = (
        statistics.median(phase.cpu_seconds / phase.seconds for phase in phases)
        for phases in halves(played)
    )
    return f"| {played.attack.name} | {' | '.join(cells)} | {without:.0%} / {under:.0%} |"


def halves(played):
    """The phases without the hostile client, and those with it."""
    return [[phase for phase in played.phases if phase.hostile == which] for which in (False, True)]


def cell(played, step):
    """The median over the phases of a step's median, and its ratio."""
    medians = []
    for phases in halves(played):
        found = [phase.median(step) for phase in phases]
        found = [value for value in found if value is not None]
        medians.append(statistics.median(found) if found else None)
    without, under = medians
    if not without or not under:
        return "–"
    return f"{without * 1e3:.0f} → {under * 1e3:.0f}, {under / without:.1f}"


if __name__ == "__main__":
    main()
