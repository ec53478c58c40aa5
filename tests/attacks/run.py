#!/usr/bin/env python3
"""Attacks the gateway beside twenty well-behaved sessions, and counts what must hold.

    pip install -r tests/clients/requirements.txt
    python3 tests/attacks/run.py                   # the short form, two to three minutes
    python3 tests/attacks/run.py --long            # a minute for each attack; ends with a table
    python3 tests/attacks/run.py --only breaker    # the attacks whose name holds the text

The exit status is 1 when anything that must hold did not. Times are printed, never judged.
"""

import argparse
import contextlib
import datetime
import pathlib
import shutil
import signal
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(REPOSITORY / "tests/clients"))  # how processes are started and checked

from attack import ATTACKS  # noqa: E402
from play import play  # noqa: E402

import every  # noqa: E402,F401 - registers every attack

# The long form has as many phases without and with the hostile client, in turn.
LONG_ROUNDS = 2
ATTACK_SECONDS_MAX = 1_200


def main():
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds, and so stops everything
    signal.signal(signal.SIGALRM, too_long)
    began, results = time.monotonic(), []
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(tempfile.mkdtemp(prefix="portcullis-attacks-"))
        if not options.keep:
            stack.callback(shutil.rmtree, directory, ignore_errors=True)
        for number, attack in enumerate(chosen(options)):
            results.append(run_one(attack, directory / f"{number:02}", options))
        if options.keep:
            print(f"kept: {directory}")
    if options.long or options.table:
        print(table(results))
    failed = sum(bool(played.wrong) for played in results)
    seconds = time.monotonic() - began
    verdict = f"{failed} of {len(results)} attacks did harm" if failed else "no attack did harm"
    print(f"{verdict} · {seconds:.0f} s")
    return 1 if failed or not results else 0


def parse():
    parser = argparse.ArgumentParser(description="Attacks beside well-behaved sessions")
    parser.add_argument("--binary", default=REPOSITORY / "target/release/portcullis")
    parser.add_argument("--long", action="store_true", help="a minute for each attack")
    parser.add_argument("--only", default="", help="attacks whose name holds this text")
    parser.add_argument("--table", action="store_true", help="end with the table of results")
    parser.add_argument("--keep", action="store_true", help="keep the directory with the logs")
    options = parser.parse_args()
    options.binary = pathlib.Path(options.binary).resolve()
    for binary in (options.binary, options.binary.with_name("embedded-s3")):
        if not binary.is_file():
            parser.error(f"{binary} does not exist: cargo build --release --workspace")
    return options


def chosen(options):
    return [
        attack
        for attack in ATTACKS
        if options.only in attack.name and (options.long or not attack.long_only)
    ]


def run_one(attack, directory, options):
    """Plays one attack and prints its lines."""
    signal.alarm(ATTACK_SECONDS_MAX)
    try:
        rounds = LONG_ROUNDS if options.long else 1
        played = play(attack, options.binary, directory, long=options.long, rounds=rounds)
    finally:
        signal.alarm(0)
    acts = ", ".join(f"{count:,} {what}" for what, count in sorted(played.acts.items()))
    verdict = "FAIL" if played.wrong else "ok"
    print(f"{verdict:4} {attack.name} ({played.seconds:.0f} s): {acts or 'nothing done'}")
    print(
        f"       {played.rounds(hostile=False)} honest rounds without, "
        f"{played.rounds(hostile=True)} with the attack; login {ratio(played, 'login')}, "
        f"download {ratio(played, 'download')}; {played.peak_mib:.0f} MiB at most; "
        f"{played.log_bytes / 1024:,.0f} KiB of log"
    )
    for line in played.notes + [f"wrong: {text}" for text in played.wrong]:
        print(f"       {line}")
    sys.stdout.flush()
    return played


def ratio(played, what):
    """Medians without and with the attack, in words."""
    without, under = medians(played, what)
    if not without or not under:
        return "not measured"
    return f"{without * 1e3:.0f} → {under * 1e3:.0f} ms"


def medians(played, what):
    """The median of the phases' medians, without and with the hostile client."""
    found = []
    for hostile in (False, True):
        rows = [phase.median(what) for phase in played.phases if phase.hostile == hostile]
        rows = sorted(row for row in rows if row is not None)
        found.append(rows[len(rows) // 2] if rows else None)
    return found


def table(results):
    """The results for docs/development.md, with the date."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    lines = [
        f"Last run: {today}.",
        "",
        "| attack | hostile acts | honest rounds without / with | peak MiB | log KiB | result |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for played in results:
        acts = ", ".join(f"{count:,} {what}" for what, count in sorted(played.acts.items()))
        rounds = f"{played.rounds(hostile=False)} / {played.rounds(hostile=True)}"
        verdict = "harm" if played.wrong else "held"
        lines.append(
            f"| {played.attack.name} | {acts} | {rounds} | {played.peak_mib:.0f} | "
            f"{played.log_bytes / 1024:,.0f} | {verdict} |"
        )
    return "\n".join(["", *lines, ""])


def too_long(*_):
    raise TimeoutError(f"not done after {ATTACK_SECONDS_MAX} s")


if __name__ == "__main__":
    sys.exit(main())
