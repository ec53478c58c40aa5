"""rclone with its `sftp` remote."""

import os

from cases import Skipped, case, expect, expect_equal
from material import awkward as awkward_files
from material import same_objects, same_trees, sha256
from processes import run

PROGRAM = "rclone"  # its path, set by run.py


def rclone(setup, *arguments, times=False, sums=False, commands=None, **more):
    """Runs rclone; `gw:` is the gateway, below the root of the cases. `times`: it sets them.
    `sums`: it looks for commands that compute checksums, as it does unless it is told not to;
    `commands`: what it would remember of that in its configuration."""
    settings = {
        "TYPE": "sftp",
        "HOST": "127.0.0.1",
        "PORT": setup.port,
        "USER": setup.user,
        "KNOWN_HOSTS_FILE": setup.known_hosts,
        # Otherwise it tries commands on the far side, for checksums.
        "SHELL_TYPE": "none",
        # With its defaults the gateway keeps the time of the upload; so rclone compares sizes.
        "SET_MODTIME": str(times).lower(),
    }
    if sums:
        del settings["SHELL_TYPE"]
    settings |= commands or {}
    if setup.key:
        settings["KEY_FILE"] = setup.key
    else:
        obscured = run([PROGRAM, "obscure", "-"], text=setup.password).output.strip()
        settings["PASS"] = obscured
    environment = {f"RCLONE_CONFIG_GW_{name}": str(value) for name, value in settings.items()}
    environment["RCLONE_CONFIG"] = "/dev/null"
    more.setdefault("seconds", 180)
    return run([PROGRAM, *arguments, "--retries=1"], environment=environment, **more)


def far(setup, path):
    return f"gw:{setup.root}/{path}"


@case("rclone: copy a tree up and back, check")
def tree(setup, material):
    back = setup.folder("rclone-tree")
    rclone(setup, "copy", "--create-empty-src-dirs", material.tree, far(setup, "rclone-tree"))
    same_objects(material.tree, setup, "rclone-tree")
    rclone(setup, "check", material.tree, far(setup, "rclone-tree"))
    rclone(setup, "copy", "--create-empty-src-dirs", far(setup, "rclone-tree"), back)
    same_trees(material.tree, back)


@case("rclone: checksums")
def checksums(setup, _):
    local = setup.folder("rclone-sums")
    for name in ("plain", "a b", "it's (one)", "$x;y", "é ü", "[z]*?"):
        (local / name).write_bytes(name.encode() * 1000)
    there = far(setup, "rclone-sums")
    # Without commands for them it does without.
    rclone(setup, "copy", local, there, sums=True)
    same_objects(local, setup, "rclone-sums")
    check = rclone(setup, "check", local, there, sums=True)
    expect("0 differences found" in check.errors, check.errors)
    if not setup.sums:
        expect("hashes could not be checked" in check.errors, check.errors)
        return
    expect("hashes could not be checked" not in check.errors, check.errors)
    for algorithm in ("md5", "sha1"):
        here = rclone(setup, "hashsum", algorithm, local).output
        commands = {"SHELL_TYPE": "unix", f"{algorithm.upper()}SUM_COMMAND": f"{algorithm}sum"}
        found = rclone(setup, "hashsum", algorithm, there, commands=commands).output
        expect_equal(sorted(found.splitlines()), sorted(here.splitlines()), algorithm)
    # Of the same size, and something else.
    setup.put("rclone-sums/plain", b"PLAIN" * 1000)
    check = rclone(setup, "check", local, there, sums=True, succeed=False)
    expect("md5 differ" in check.errors, check.errors)


@case("rclone: a second sync finds by their times that nothing changed")
def sync_times(setup, _):
    if not setup.keeps_times:
        raise Skipped("with its defaults the gateway keeps no times")
    local = setup.folder("rclone-times")
    for number in range(30):
        path = local / f"file-{number}"
        path.write_bytes(os.urandom(1000))
        os.utime(path, (1_000_000_000 + number, 1_000_000_000 + number))
    there = far(setup, "rclone-times")
    rclone(setup, "sync", local, there, times=True)
    again = rclone(setup, "sync", "-v", local, there, times=True)
    expect("There was nothing to transfer" in again.errors, again.errors)
    # A file of the same size that is younger is sent, and no other.
    (local / "file-7").write_bytes(os.urandom(1000))
    changed = rclone(setup, "sync", "-v", local, there, times=True)
    expect(changed.errors.count("Copied (replaced existing)") == 1, changed.errors)
    expect(setup.object("rclone-times/file-7").read() == (local / "file-7").read_bytes(), "file-7")
    back = setup.folder("rclone-times-back")
    rclone(setup, "copy", there, back, times=True)
    for path in local.iterdir():
        expect_equal(int((back / path.name).stat().st_mtime), int(path.stat().st_mtime), path.name)


@case("rclone: sync twice, then after changes")
def sync(setup, _):
    local = setup.folder("rclone-sync")
    for number in range(40):
        path = local / f"dir-{number % 4}" / f"file-{number}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(os.urandom(1000 + number))
    there = far(setup, "rclone-sync")
    rclone(setup, "sync", "--size-only", local, there)
    again = rclone(setup, "sync", "--size-only", "-v", local, there)
    expect("There was nothing to transfer" in again.errors, f"the second sync:\n{again.errors}")
    (local / "dir-1/file-1").unlink()
    (local / "dir-2/file-2").write_bytes(b"shorter")
    (local / "new").write_bytes(b"new")
    rclone(setup, "sync", "--size-only", local, there)
    same_objects(local, setup, "rclone-sync")
    rclone(setup, "check", local, there)


@case("rclone: awkward names")
def names(setup, _):
    folder = setup.folder("rclone-names")
    (folder / "up").mkdir()
    local = awkward_files(folder / "up", backslash=not setup.seaweed)
    # rclone itself writes control characters with other letters.
    (local / "tab\there").unlink()
    rclone(setup, "copy", local, far(setup, "rclone-names"))
    same_objects(local, setup, "rclone-names")
    rclone(setup, "copy", far(setup, "rclone-names"), folder / "back")
    same_trees(local, folder / "back")


@case("rclone: rcat, cat, lsf, size, moveto, mkdir, rmdir, delete, purge")
def everyday(setup, _):
    top = far(setup, "rclone-day")
    rclone(setup, "mkdir", top)
    rclone(setup, "rcat", f"{top}/small", text="from a pipe")
    rclone(setup, "rcat", f"{top}/deep/er/large", text="0123456789" * 200_000)
    expect_equal(setup.object("rclone-day/small").read(), b"from a pipe", "rcat")
    expect_equal(setup.objects("rclone-day")["deep/er/large"][0], 2_000_000, "rcat")
    part = rclone(setup, "cat", "--offset", "1000003", "--count", "5", f"{top}/deep/er/large")
    expect_equal(part.output, "34567", "cat of a piece")
    rclone(setup, "mkdir", f"{top}/empty")
    shown = rclone(setup, "lsf", "-R", top).output.split()
    expect_equal(
        sorted(shown), ["deep/", "deep/er/", "deep/er/large", "empty/", "small"], "lsf -R"
    )
    expect("2000011 Byte" in rclone(setup, "size", top).output, "size")
    rclone(setup, "moveto", f"{top}/small", f"{top}/moved")
    rclone(setup, "moveto", f"{top}/deep", f"{top}/elsewhere")
    expect_equal(set(setup.objects("rclone-day")), {"moved", "elsewhere/er/large"}, "moveto")
    rclone(setup, "rmdir", f"{top}/empty")
    rclone(setup, "rmdir", f"{top}/elsewhere", succeed=False)
    rclone(setup, "deletefile", f"{top}/moved")
    rclone(setup, "delete", f"{top}/elsewhere")
    expect_equal(setup.objects("rclone-day"), {}, "delete")
    rclone(setup, "purge", top)
    rclone(setup, "lsf", top, succeed=False)
    about = rclone(setup, "about", top, succeed=None)
    expect("panic" not in about.errors, about.complaint())


@case("rclone: check by content finds what is different")
def check(setup, _):
    local = setup.folder("rclone-check")
    for name in ("same", "different"):
        (local / name).write_bytes(name.encode())
        setup.put(f"rclone-check/{name}", b"same".ljust(len(name), b"!"))
    found = rclone(
        setup,
        *("check", "--download", "--combined", "-", local, far(setup, "rclone-check")),
        succeed=False,
    )
    expect_equal(sorted(found.output.splitlines()), ["* different", "= same"], "check")


@case("rclone: a large file up and back", big=True)
def big(setup, material):
    back = setup.folder("rclone-big") / "big"
    rclone(setup, "copyto", material.big, far(setup, "rclone-big"))
    expect_equal(sha256(setup.object("rclone-big")), material.big_sha256, "SHA-256 in S3")
    rclone(setup, "copyto", "--multi-thread-streams=4", far(setup, "rclone-big"), back)
    with open(back, "rb") as file:
        expect_equal(sha256(file), material.big_sha256, "SHA-256 of what came back")
    back.unlink()
    rclone(setup, "deletefile", far(setup, "rclone-big"))
