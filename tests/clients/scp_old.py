"""OpenSSH's `scp` in its old protocol, which older versions and devices speak."""

import os

import scp
from cases import case, expect, expect_equal
from material import awkward, same_objects, same_trees
from openssh import askpass, ssh_options
from processes import run


def old(setup, *arguments, **more):
    # `-T`: what the client asks for in quotes is not compared with what it gets.
    return run(
        ["scp", "-O", "-T", *ssh_options(setup), *arguments], environment=askpass(setup), **more
    )


@case("scp -O: up, over another file, and down")
def overwrite(setup, _):
    folder = setup.folder("scp-old")
    local, back = folder / "local", folder / "back"
    for length in (0, 10, 70_000, 20_000_000):
        body = os.urandom(length)
        local.write_bytes(body)
        old(setup, local, scp.far(setup, "scp-old-file"))
        expect(setup.object("scp-old-file").read() == body, f"{length} bytes: S3 holds others")
        old(setup, scp.far(setup, "scp-old-file"), back)
        expect(back.read_bytes() == body, f"{length} bytes came back differently")


@case("scp -O: a tree with awkward names and times, up and back")
def tree(setup, _):
    folder = setup.folder("scp-old-tree")
    (folder / "up").mkdir()
    local = awkward(folder / "up", backslash=not setup.seaweed)
    # The protocol has one line for each name.
    for path in local.iterdir():
        if any(ord(letter) < 32 for letter in path.name):
            path.unlink()
    first = min(path for path in local.iterdir() if path.is_file())
    os.utime(first, (1_000_000_000, 1_000_000_000))
    old(setup, "-pr", local, scp.far(setup, "scp-old-tree"))
    same_objects(local, setup, "scp-old-tree")
    old(setup, "-pr", scp.far(setup, "scp-old-tree"), folder / "back")
    same_trees(local, folder / "back")
    expect_equal(int((folder / "back" / first.name).stat().st_mtime), 1_000_000_000, "its time")


@case("scp -O: wildcards, several files, and what is missing")
def several(setup, _):
    folder = setup.folder("scp-old-several")
    for name in ("a1", "a2", "b1"):
        (folder / name).write_bytes(name.encode())
    setup.put("scp-old-several/other", b"other")
    old(setup, *sorted(folder.iterdir()), scp.far(setup, "scp-old-several"))
    back = setup.folder("scp-old-back")
    old(setup, scp.far(setup, "scp-old-several/a?"), scp.far(setup, "scp-old-several/[b]1"), back)
    expect_equal(sorted(path.name for path in back.iterdir()), ["a1", "a2", "b1"], "names")
    ran = old(setup, scp.far(setup, "scp-old-several/none"), back, succeed=False)
    expect("No such file" in ran.errors, ran.complaint())
    ran = old(setup, scp.far(setup, "scp-old-several"), back, succeed=False)
    expect("not a regular file" in ran.errors, ran.complaint())
