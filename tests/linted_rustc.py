#!/usr/bin/env python3
"""Compiles a package of the workspace once clippy and rustdoc have nothing to say of it.

cargo calls it in place of the compiler (RUSTC_WORKSPACE_WRAPPER, see test.sh). `cargo clippy` and
`cargo doc` would have every package of others compiled once more, to no use but theirs: four
minutes on two cores.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import tomllib

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]


def main():
    compiler, *arguments = sys.argv[1:]
    # cargo's questions about the compiler name no source.
    if any(argument.endswith(".rs") for argument in arguments):
        lint(compiler, arguments)
    os.execvp(compiler, [compiler, *arguments])


def lint(compiler, arguments):
    """Ends the process where there is a warning; cargo shows it."""
    sysroot = subprocess.run([compiler, "--print", "sysroot"], check=True, capture_output=True, text=True).stdout
    tools = pathlib.Path(sysroot.strip()) / "bin"
    with tempfile.TemporaryDirectory() as folder:
        run([tools / "clippy-driver", *into(arguments, folder), "-Dwarnings"])
        if is_library(arguments):
            run([tools / "rustdoc", *documented(arguments), "-Dwarnings", *rustdoc_lints(), "--out-dir", folder])


def into(arguments, folder):
    """The same without machine code, in another folder."""
    changed, following = [], iter(arguments)
    for argument in following:
        if argument == "--out-dir":
            next(following)
            argument = f"--out-dir={folder}"
        elif argument.startswith("--emit="):
            argument = "--emit=metadata"
        changed.append(argument)
    return changed


def is_library(arguments):
    pairs = zip(arguments, arguments[1:])
    return ("--crate-type", "lib") in pairs and "--test" not in arguments


def documented(arguments):
    """What rustdoc takes of a compiler's arguments."""
    taken, following = [], iter(arguments)
    for argument in following:
        if argument == "--out-dir":
            next(following)
        elif not argument.startswith("--emit="):
            taken.append(argument)
    return taken


def rustdoc_lints():
    """The lints that cargo gives to rustdoc only."""
    manifest = tomllib.loads((REPOSITORY / "Cargo.toml").read_text(encoding="utf-8"))
    lints = manifest["workspace"]["lints"]["rustdoc"]
    return [f"--{level}=rustdoc::{name}" for name, level in lints.items()]


def run(command):
    status = subprocess.run(command, check=False).returncode
    if status != 0:
        sys.exit(status)


main()
