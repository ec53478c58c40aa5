#!/usr/bin/env python3
"""Drives real clients against the gateway: OpenSSH's sftp and scp, rclone, paramiko, AWS's tools, curl, lftp and sshfs, also through HAProxy.

    pip install -r tests/clients/requirements.txt
    python3 tests/clients/run.py                 # everything
    python3 tests/clients/run.py --quick         # no large file, a smaller tree
    python3 tests/clients/run.py --only 'scp'    # the cases whose name holds the text

Every case runs against `quickstart` and against `serve` over SeaweedFS with the Python identity
provider. The exit status is 1 when any case failed.
"""

import argparse
import contextlib
import pathlib
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import traceback

import gateway
import material
from cases import CASES, Material, Skipped
from processes import Failed

import openssh  # noqa: F401 - registers its cases, as the next ones do
import scp  # noqa: F401
import scp_old  # noqa: F401
import rclone  # noqa: F401
import host_keys  # noqa: F401
import paramiko_client  # noqa: F401
import paramiko_logins  # noqa: F401
import aws_tools  # noqa: F401
import balanced  # noqa: F401
import changes  # noqa: F401
import partial  # noqa: F401
import programs  # noqa: F401
import libraries  # noqa: F401


def main():
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds, and so stops everything
    if options.setup is None:
        return both(sys.argv[1:])
    signal.signal(signal.SIGALRM, too_long)
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(tempfile.mkdtemp(prefix="portcullis-clients-"))
        if not options.keep:
            stack.callback(shutil.rmtree, directory, ignore_errors=True)
        rclone.PROGRAM = program("rclone")
        name, start = options.setup, setups(options)[options.setup]
        shared = prepare(directory / f"material-{name}", name, options)
        failures = run_setup(name, start, directory / name, shared, options)
        if options.keep:
            print(f"kept: {directory}")
    seconds = time.monotonic() - started
    verdict = f"{failures} failed" if failures else "all passed"
    print(f"{options.setup}: {verdict} · {seconds:.0f} s")
    return 1 if failures else 0


def both(arguments):
    """Runs each set-up in a process of its own, at the same time: clients wait more than they work."""
    runs = []
    try:
        for name in SETUPS:
            runs.append(subprocess.Popen([sys.executable, "-B", __file__, *arguments, "--setup", name]))
        statuses = [process.wait() for process in runs]
    finally:
        for process in runs:
            process.terminate()
    return 1 if any(statuses) else 0


def parse():
    parser = argparse.ArgumentParser(description="Real clients against the gateway")
    parser.add_argument("--binary", default=gateway.REPOSITORY / "target/release/portcullis")
    parser.add_argument("--quick", action="store_true", help="no large file, a smaller tree")
    parser.add_argument("--only", default="", help="cases whose name holds this text")
    parser.add_argument("--setup", choices=SETUPS, help="one of the set-ups")
    parser.add_argument("--keep", action="store_true", help="keep the directory with the logs")
    options = parser.parse_args()
    options.binary = pathlib.Path(options.binary).resolve()
    if not options.binary.is_file():
        parser.error(f"{options.binary} does not exist: build it, or name one with --binary")
    return options


def setups(options):
    weed = program("weed")
    return {
        "quickstart": lambda directory: gateway.quickstart(options.binary, directory),
        "serve": lambda directory: gateway.serve(options.binary, weed, sys.executable, directory),
    }


def program(name):
    """Finds a program that pip has put beside this Python, or on the path."""
    beside = pathlib.Path(sysconfig.get_path("scripts")) / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        raise SystemExit(f"{name} is missing: pip install -r tests/clients/requirements.txt")
    return found


def prepare(directory, setup, options):
    """Makes the files; SeaweedFS, which writes to a disk, gets fewer and smaller ones."""
    directory.mkdir()
    files, mib = (1_000, 256) if setup == "serve" else (2_000, 1_024)
    tree = directory / "tree"
    tree.mkdir()
    material.tree(tree, 300 if options.quick else files)
    big = directory / "big.bin"
    return Material(
        tree=tree,
        big=big,
        big_sha256="" if options.quick else material.big(big, mib),
        listing=1_500 if options.quick else 10_000,
    )


def run_setup(name, start, directory, shared, options):
    """Runs every case against one set-up; returns how many failed."""
    directory.mkdir()
    failures = 0
    try:
        with start(directory) as setup:
            for case in CASES:
                if options.only in case.name and not (case.big and options.quick):
                    failures += not run_case(case, setup, shared)
    except (Failed, AssertionError) as error:
        report("FAIL", name, "start and stop", 0, error)
        failures += 1
    return failures


def run_case(case, setup, shared):
    """Runs one case and prints its line; returns whether all is well."""
    began = time.monotonic()
    signal.alarm(CASE_SECONDS_MAX)
    try:
        case.body(setup, shared)
    except Skipped as reason:
        report("skip", setup.name, case.name, time.monotonic() - began, reason)
    except (Failed, AssertionError) as error:
        report("FAIL", setup.name, case.name, time.monotonic() - began, error)
        return False
    except Exception:  # one broken case must not hide the others
        trace = "".join(traceback.format_exc().splitlines(keepends=True)[-8:])
        report("FAIL", setup.name, case.name, time.monotonic() - began, trace)
        return False
    else:
        report("ok", setup.name, case.name, time.monotonic() - began)
    finally:
        signal.alarm(0)
    return True


def too_long(*_):
    raise TimeoutError(f"not done after {CASE_SECONDS_MAX} s")


def report(verdict, setup, name, seconds, why=""):
    print(f"{verdict:4} {setup:10} {name} ({seconds:.1f} s)", flush=True)
    for line in str(why).splitlines():
        print(f"       {line}", flush=True)


SETUPS = ("quickstart", "serve")

# A case that hangs is a fault like any other.
CASE_SECONDS_MAX = 300

if __name__ == "__main__":
    sys.exit(main())
