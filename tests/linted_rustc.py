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
        asked = [*without_output(arguments), "--out-dir", folder, "-Dwarnings"]
        run([tools / "clippy-driver", *asked, "--emit=metadata"])
        if is_documented(arguments):
            run([tools / "rustdoc", *asked, *rustdoc_lints()])


def without_output(arguments):
    """What is asked for, but for what is to be made and where; cargo hears of no file twice."""
    kept, following = [], iter(arguments)
    for argument in following:
        if argument == "--out-dir":
            next(following)
        elif argument.startswith("--json="):
            kept.append(argument.replace(",artifacts", ""))
        elif not argument.startswith("--emit="):
            kept.append(argument)
    return kept


def is_documented(arguments):
    """Says whether it is a library whose manifest does not say otherwise."""
    is_library = ("--crate-type", "lib") in zip(arguments, arguments[1:])
    library = manifest(pathlib.Path(os.environ["CARGO_MANIFEST_DIR"])).get("lib", {})
    return is_library and "--test" not in arguments and library.get("doc", True)


def rustdoc_lints():
    """The lints that cargo gives to rustdoc only."""
    lints = manifest(REPOSITORY)["workspace"]["lints"]["rustdoc"]
    return [f"--{level}=rustdoc::{name}" for name, level in lints.items()]


def manifest(folder):
    return tomllib.loads((folder / "Cargo.toml").read_text(encoding="utf-8"))


def run(command):
    # The compiler gets its share of the processors over files that cargo left open.
    status = subprocess.run(command, check=False, close_fds=False).returncode
    if status != 0:
        sys.exit(status)


main()
