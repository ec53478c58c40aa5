"""OpenSSH's `scp`, which speaks SFTP since version 9."""

import os

from cases import case, expect, expect_equal
from material import awkward, awkward_names, same_objects, same_trees
from openssh import askpass, ssh_options
from processes import run


def scp(setup, *arguments, **more):
    return run(
        ["scp", "-s", *ssh_options(setup), *arguments], environment=askpass(setup), **more
    )


def far(setup, path):
    """A path as scp wants it; the wildcards in it count on the far side."""
    return f"127.0.0.1:{setup.root}/{path}"


@case("scp: up, over a shorter and a longer file, and down")
def overwrite(setup, _):
    folder = setup.folder("scp")
    local, back = folder / "local", folder / "back"
    # In one part and in several; scp opens without truncating and sets the size afterwards.
    for before, after in ((0, 10), (10, 70_000), (70_000, 10), (100, 0), (20_000_000, 9_000_000)):
        setup.put("scp-file", os.urandom(before))
        body = os.urandom(after)
        local.write_bytes(body)
        scp(setup, local, far(setup, "scp-file"))
        stored = setup.object("scp-file").read()
        expect(stored == body, f"{after} bytes over {before}: S3 holds {len(stored)} others")
        scp(setup, far(setup, "scp-file"), back)
        expect(back.read_bytes() == body, f"{after} bytes over {before} came back differently")


@case("scp: a tree up and back")
def tree(setup, material):
    back = setup.folder("scp-tree")
    crate = min(path for path in material.tree.iterdir() if path.is_dir() and any(path.iterdir()))
    scp(setup, "-r", crate, far(setup, "scp-tree"))
    same_objects(crate, setup, "scp-tree")
    scp(setup, "-r", far(setup, "scp-tree"), back)
    same_trees(crate, back / "scp-tree")


@case("scp: awkward names")
def names(setup, _):
    folder = setup.folder("scp-names")
    (folder / "up").mkdir()
    (folder / "back").mkdir()
    local = awkward(folder / "up", backslash=not setup.seaweed)
    scp(setup, "-pr", local, far(setup, "scp-names"))
    same_objects(local, setup, "scp-names")
    for name in awkward_names(not setup.seaweed):
        literal = "".join("\\" + letter if letter in "\\*?[" else letter for letter in name)
        scp(setup, far(setup, f"scp-names/{literal}"), folder / "back")
    same_trees(local, folder / "back")


@case("scp: a missing file and a missing directory")
def missing(setup, _):
    folder = setup.folder("scp-missing")
    ran = scp(setup, far(setup, "not-there"), folder / "x", succeed=False)
    expect("No such file" in ran.errors, ran.complaint())
    (folder / "file").write_bytes(b"x")
    ran = scp(setup, folder / "file", far(setup, "not-there/inside/file"), succeed=False)
    expect("No such file" in ran.errors, ran.complaint())
    expect_equal(setup.objects("not-there"), {}, "what S3 holds")
