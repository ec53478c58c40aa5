"""OpenSSH's `sftp`."""

import concurrent.futures
import os
import re
import stat

from cases import Skipped, case, expect, expect_equal
from material import awkward, awkward_names, same_objects, same_trees, sha256
from processes import run


def ssh_options(setup, user=None, *, password=False):
    """Options for `sftp` and `scp`: the key where there is one, or else the password."""
    options = {
        "Port": setup.port,
        "User": user or setup.user,
        "UserKnownHostsFile": setup.known_hosts,
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "NumberOfPasswordPrompts": 1,
        "BatchMode": "no",  # `-b` would set it, and with it refuse the password
    }
    if setup.key and not password:
        options |= {"IdentityFile": setup.key, "PreferredAuthentications": "publickey"}
    else:
        options |= {"PreferredAuthentications": "password", "PubkeyAuthentication": "no"}
    # The user's own configuration has no say.
    return ["-F", "none"] + [f"-o{name}={value}" for name, value in options.items()]


def askpass(setup, password=None):
    """An environment in which ssh asks a script for the password instead of a terminal."""
    script = setup.directory / "askpass"
    if not script.exists():
        script.write_text('#!/bin/sh\nprintf "%s\\n" "$TEST_PASSWORD"\n')
        script.chmod(0o700)
    return {
        "SSH_ASKPASS": str(script),
        "SSH_ASKPASS_REQUIRE": "force",
        "DISPLAY": ":0",
        "TEST_PASSWORD": password or setup.password,
    }


def sftp(setup, batch, *, user=None, with_password=False, password=None, **more):
    """Runs the lines of a batch; the first failure ends it, except on lines with a `-`."""
    arguments = ["sftp", *ssh_options(setup, user, password=with_password or bool(password))]
    text = "\n".join(batch) + "\n"
    arguments += ["-b", "-", "127.0.0.1"]
    return run(arguments, text=text, environment=askpass(setup, password), **more)


def quoted(name):
    """A name as a batch line wants it: wildcards and all else that has a meaning taken literally."""
    return re.sub(r"""([\s\\"'*?\[\]#;&!$~])""", r"\\\1", str(name))


@case("sftp: a tree up and back")
def tree(setup, material):
    back = setup.folder("sftp-tree")
    remote = f"{setup.root}/sftp-tree"
    sftp(setup, [f"put -r {quoted(material.tree)} {remote}"])
    same_objects(material.tree, setup, "sftp-tree")
    sftp(setup, [f"get -r {remote} {quoted(back)}"])
    same_trees(material.tree, back / "sftp-tree")


@case("sftp: a large file up and back", big=True)
def big(setup, material):
    back = setup.folder("sftp-big") / "big"
    remote = f"{setup.root}/sftp-big"
    sftp(setup, [f"put {material.big} {remote}"])
    expect_equal(sha256(setup.object("sftp-big")), material.big_sha256, "SHA-256 in S3")
    sftp(setup, [f"get {remote} {back}", f"rm {remote}"])
    with open(back, "rb") as file:
        expect_equal(sha256(file), material.big_sha256, "SHA-256 of what came back")
    back.unlink()


@case("sftp: awkward names")
def names(setup, _):
    folder = setup.folder("sftp-names")
    (folder / "up").mkdir()
    (folder / "back").mkdir()
    local = awkward(folder / "up", backslash=not setup.seaweed)
    remote = f"{setup.root}/sftp-names"
    sftp(setup, [f"put -r {quoted(local)} {remote}"])
    same_objects(local, setup, "sftp-names")
    sftp(setup, [f"get -r {remote} {quoted(folder / 'all')}"])
    same_trees(local, folder / "all")
    batch = []
    for name in awkward_names(not setup.seaweed):
        far, moved = quoted(f"{remote}/{name}"), quoted(f"{remote}/moved")
        batch += [f"get {far} {quoted(folder / 'back' / name)}", f"rename {far} {moved}"]
        batch += [f"rename {moved} {far}", f"rm {far}"]
    sftp(setup, batch)
    same_trees(local, folder / "back")
    expect_equal(setup.objects("sftp-names"), {}, "what is left in S3")


@case("sftp: an interrupted download is resumed")
def reget(setup, _):
    folder = setup.folder("sftp-reget")
    body = os.urandom(3_000_000)
    setup.put("sftp-reget", body)
    half = folder / "half"
    half.write_bytes(body[:1_234_567])
    sftp(setup, [f"reget {setup.root}/sftp-reget {half}"])
    expect(half.read_bytes() == body, "the resumed file has other bytes")


@case("sftp: an interrupted upload is resumed")
def reput(setup, _):
    folder = setup.folder("sftp-reput")
    for size, there in ((2_000_000, 900_000), (30_000_000, 21_000_000)):
        body = os.urandom(size)
        (folder / "whole").write_bytes(body)
        for line in ("reput", "put -a"):
            setup.put("sftp-reput", body[:there])
            sftp(setup, [f"{line} {folder / 'whole'} {setup.root}/sftp-reput"])
            expect(setup.object("sftp-reput").read() == body, f"{line}: S3 holds something else")


@case("sftp: ls -la, df, cd, pwd, mkdir, rmdir, chmod, -p")
def everyday(setup, _):
    folder = setup.folder("sftp-everyday")
    local = folder / "file"
    local.write_bytes(b"twelve bytes")
    os.utime(local, (1_600_000_000, 1_600_000_000))
    far = f"{setup.root}/everyday"
    ran = sftp(
        setup,
        [
            f"mkdir {far}",
            f"cd {far}",
            "pwd",
            f"put -p {local} file",
            "chmod 600 file",
            f"get -p file {folder / 'back'}",
            "mkdir inner",
            "-rmdir ../everyday",
            "ls -la",
            "df",
            "rmdir inner",
            "rm file",
            f"rmdir {far}",
        ],
    )
    expect(f"Remote working directory: {far}" in ran.output, "pwd does not say where we are")
    expect(re.search(r"-rw\S+ .* 12 .* file$", ran.output, re.M), f"ls -la:\n{ran.output}")
    expect(re.search(r"^d\S+ .* inner$", ran.output, re.M), f"ls -la:\n{ran.output}")
    expect('remote rmdir "' in ran.errors, "rmdir of a full directory does not fail")
    expect_equal((folder / "back").read_bytes(), b"twelve bytes", "get -p")
    expect(not setup.objects("everyday"), "something is left in S3")


@case("sftp: put -p keeps the time of a large file")
def times(setup, _):
    if not setup.keeps_times:
        raise Skipped("with its defaults the gateway keeps no times that come late")
    folder = setup.folder("sftp-times")
    body = os.urandom(20_000_000)
    (folder / "file").write_bytes(body)
    os.utime(folder / "file", (1_600_000_000, 1_600_000_000))
    far = f"{setup.root}/sftp-times"
    sftp(setup, [f"put -p {folder / 'file'} {far}", f"get -p {far} {folder / 'back'}"])
    expect(setup.object("sftp-times").read() == body, "S3 holds something else")
    expect_equal((folder / "back").stat().st_mtime, 1_600_000_000, "its time")


@case("sftp: cp has S3 copy a file")
def cp(setup, material):
    folder = setup.folder("sftp-cp")
    body = os.urandom(3_000_000)
    (folder / "file").write_bytes(body)
    far = f"{setup.root}/cp-file"
    sftp(setup, [f"put {folder / 'file'} {far}", f"cp {far} {far}-copy"])
    expect(setup.object("cp-file-copy").read() == body, "the copy has other bytes")
    expect(setup.object("cp-file").read() == body, "the source has other bytes")
    ran = sftp(setup, [f"cp {far} {far}", f"rm {far}"], succeed=False)
    expect("Couldn't copy file" in ran.errors, ran.errors)
    expect(setup.object("cp-file").read() == body, "a copy onto itself changed the file")


@case("sftp: ls of many names")
def many(setup, material):
    count = material.listing // 3 if setup.seaweed else material.listing
    wanted = {f"name-{number:05}" for number in range(count)}
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: setup.put(f"many/{name}"), wanted))
    ran = sftp(setup, [f"ls -1 {setup.root}/many"])
    shown = [line.rsplit("/", 1)[1] for line in ran.output.splitlines() if "/name-" in line]
    expect_equal(len(shown), count, "lines")
    expect(set(shown) == wanted, "the listing shows other names")


@case("sftp: what cannot be done is refused in plain words")
def refusals(setup, _):
    local = setup.folder("sftp-refusals") / "file"
    local.write_bytes(b"x")
    missing, root = f"{setup.root}/missing", setup.root
    for line, words in (
        (f"get {missing}", f'File "{missing}" not found.'),
        (f"rm {missing}", "No such file or directory"),
        (f"rename {missing} {root}/other", "No such file or directory"),
        (f"put {local} {missing}/file", "No such file or directory"),
        ("mkdir /beside", "No such file or directory"),
        (f"put {local} /beside", f'"/" is virtual: put files below {root}'),
        (f"rmdir {root}", "Permission denied"),
        (f"ln -s {missing} {root}/link", "Operation unsupported"),
    ):
        ran = sftp(setup, [line], succeed=False)
        expect(words in ran.errors, f"{line}: {ran.complaint()}")


@case("sftp: a file mapping")
def rates(setup, _):
    folder = setup.folder("sftp-rates")
    ran = sftp(setup, ["ls -1 /", f"get /rates.csv {folder / 'rates.csv'}"])
    expect("rates.csv" in ran.output, f"ls / does not show the file:\n{ran.output}")
    expect((folder / "rates.csv").read_bytes().startswith(b"currency,per_euro\n"), "other bytes")
    ran = sftp(setup, ["get /rates.csv/x"], succeed=False, cwd=folder)
    expect("not found" in ran.errors or "No such file" in ran.errors, ran.complaint())


@case("sftp: a read-only mapping")
def read_only(setup, _):
    if not setup.key:
        raise Skipped("the demo user has no read-only mapping")
    folder = setup.folder("sftp-read-only")
    (folder / "file").write_bytes(b"x")
    sftp(setup, [f"get /out/report.txt {folder / 'report'}"])
    for line in (f"put {folder / 'file'} /out/new", "rm /out/report.txt", "mkdir /out/dir"):
        ran = sftp(setup, [line], succeed=False)
        expect(re.search("permission denied|read-only", ran.errors, re.I), ran.complaint())


@case("sftp: two logins at once, each at home")
def parallel(setup, _):
    folder = setup.folder("sftp-parallel")
    users = [setup.user, "bob" if setup.key else setup.user]
    roots = [setup.root, "" if setup.key else setup.root]

    def one(number):
        local = folder / f"file-{number}"
        local.write_bytes(os.urandom(20_000_000))
        far = f"{roots[number]}/parallel-{number}"
        back = folder / f"back-{number}"
        sftp(setup, [f"put {local} {far}", f"get {far} {back}", f"rm {far}"], user=users[number])
        return local.read_bytes() == back.read_bytes()

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        expect(all(pool.map(one, range(2))), "a file came back with other bytes")


@case("sftp: password logins, right and wrong")
def passwords(setup, _):
    ran = sftp(setup, ["pwd"], with_password=True)
    expect("Remote working directory: /" in ran.output, ran.complaint())
    for user, password in ((setup.user, "wrong"), ("nobody", setup.password)):
        ran = sftp(setup, ["pwd"], user=user, password=password, succeed=False)
        expect(re.search(r"Permission denied \(\S*password\S*\)", ran.errors), ran.complaint())
        text = setup.server.text()
        expect(setup.password not in text or not setup.key, "the log shows the password")


@case("sftp: umask and modes of what comes back")
def modes(setup, _):
    folder = setup.folder("sftp-modes")
    setup.put("modes/file", b"x")
    sftp(setup, [f"get -r {setup.root}/modes {folder / 'modes'}"])
    mode = stat.S_IMODE((folder / "modes").stat().st_mode)
    expect(mode & 0o700 == 0o700, f"the directory came back as {mode:o}")
