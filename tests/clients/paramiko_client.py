"""paramiko, the SFTP library of Python."""

import contextlib
import errno
import hashlib
import io
import os
import stat

import paramiko

from cases import case, expect, expect_equal
from gateway import host_key
from material import awkward_names, sha256
from processes import Failed


@contextlib.contextmanager
def connected(setup, *, password=None):
    """Yields an SFTP client: with the key where there is one, or else the password."""
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    keys = client.get_host_keys()
    for kind, key in host_key(setup.known_hosts, setup.port).items():
        keys.add(f"[127.0.0.1]:{setup.port}", kind, key)
    known = {"password": password or setup.password}
    if setup.key and not password:
        known = {"key_filename": str(setup.key)}
    try:
        client.connect(
            "127.0.0.1", setup.port, setup.user, allow_agent=False, look_for_keys=False, **known
        )
        yield client.open_sftp()
    finally:
        client.close()


def refused(action, *, number=None, says=""):
    """Runs what must fail with an IOError, of this errno and these words if given."""
    try:
        action()
    except OSError as error:
        if number is not None and error.errno != number:
            raise Failed(f"refused with {error!r}, not errno {number}") from error
        expect(says.lower() in str(error).lower(), f"refused with {error!r}, not {says!r}")
        return
    raise Failed("nothing was refused")


@case("paramiko: a large file up with putfo and back with prefetch", big=True)
def big(setup, material):
    folder = setup.folder("paramiko-big")
    path = f"{setup.root}/paramiko-big"
    with connected(setup) as sftp:
        with open(material.big, "rb") as source:
            sftp.putfo(source, path, file_size=material.big.stat().st_size)
        expect_equal(sha256(setup.object("paramiko-big")), material.big_sha256, "SHA-256 in S3")
        # Asks for the whole file at once: 32,768 requests for a gibibyte.
        sftp.get(path, str(folder / "back"))
        sftp.remove(path)
    with open(folder / "back", "rb") as file:
        expect_equal(sha256(file), material.big_sha256, "SHA-256 of what came back")
    (folder / "back").unlink()


@case("paramiko: getfo with every way of prefetching")
def prefetch(setup, _):
    body = os.urandom(3_345_678)
    setup.put("prefetch", body)
    with connected(setup) as sftp:
        for options in ({}, {"prefetch": False}, {"max_concurrent_prefetch_requests": 3}):
            into = io.BytesIO()
            size = sftp.getfo(f"{setup.root}/prefetch", into, **options)
            expect_equal(size, len(body), f"bytes with {options}")
            expect(into.getvalue() == body, f"other bytes with {options}")
        with sftp.open(f"{setup.root}/prefetch") as file:
            spans = [(7, 100), (3_000_000, 70_000), (500_000, 1)]
            pieces = list(file.readv(spans))
            wanted = [body[offset : offset + length] for offset, length in spans]
            expect(pieces == wanted, "readv gave other bytes")
            file.seek(-10, io.SEEK_END)
            expect(file.read() == body[-10:], "the end has other bytes")


@case("paramiko: listdir_attr, stat and what is missing")
def listings(setup, _):
    setup.put("listings/one", b"1")
    setup.put("listings/deep/two", b"22")
    with connected(setup) as sftp:
        sftp.chdir(f"{setup.root}/listings")
        rows = {row.filename: row for row in sftp.listdir_attr()}
        expect_equal(set(rows), {"one", "deep"}, "names")
        expect_equal(rows["one"].st_size, 1, "size")
        expect(stat.S_ISREG(rows["one"].st_mode), "a file is not shown as one")
        expect(stat.S_ISDIR(rows["deep"].st_mode), "a directory is not shown as one")
        now = setup.s3.head_object(Bucket=setup.bucket, Key=f"{setup.prefix}listings/one")
        expect_equal(rows["one"].st_mtime, int(now["LastModified"].timestamp()), "mtime")
        expect_equal(sftp.stat("deep/two").st_size, 2, "size")
        expect_equal({row.filename for row in sftp.listdir_iter()}, {"one", "deep"}, "names")
        for action in (sftp.stat, sftp.lstat, sftp.listdir, sftp.open, sftp.remove, sftp.rmdir):
            refused(lambda act=action: act("missing"), number=errno.ENOENT)
        refused(lambda: sftp.rename("missing", "other"), number=errno.ENOENT)
        refused(lambda: sftp.open("missing/inner", "w"), number=errno.ENOENT)


@case("paramiko: open modes")
def modes(setup, _):
    path, key = f"{setup.root}/modes-file", "modes-file"
    with connected(setup) as sftp:
        with sftp.open(path, "w") as file:
            file.write(b"first")
        with sftp.open(path, "r") as file:
            expect_equal(file.read(), b"first", "r")
        refused(lambda: sftp.open(path, "wx"))
        with sftp.open(f"{path}-new", "wx") as file:
            file.write(b"exclusive")
        expect_equal(setup.object(f"{key}-new").read(), b"exclusive", "x")
        overwrite(sftp, path, "r+", offset=2)
        expect_equal(setup.object(key).read(), b"fiXst", "r+ in the middle")
        overwrite(sftp, path, "a")
        expect_equal(setup.object(key).read(), b"fiXstX", "a")
        overwrite(sftp, path, "r+")
        expect_equal(setup.object(key).read(), b"XiXstX", "r+ from the first byte on")
        sftp.truncate(path, 3)
        expect_equal(setup.object(key).read(), b"XiX", "a size by name")
        with sftp.open(path, "r+") as file:
            file.seek(1)
            file.write(b"--")
            file.seek(0)
            expect_equal(file.read(), b"X--", "what was written, over what was there")
        with sftp.open(path, "w") as file:
            file.write(b"2nd")
        expect_equal(setup.object(key).read(), b"2nd", "w over an existing file")


def overwrite(sftp, path, mode, offset=0):
    with sftp.open(path, mode) as file:
        file.seek(offset, io.SEEK_CUR)
        file.write(b"X")


@case("paramiko: rename, posix_rename, mkdir and rmdir")
def names(setup, _):
    with connected(setup) as sftp:
        top = f"{setup.root}/renames"
        sftp.mkdir(top)
        sftp.chdir(top)
        for name in ("a", "b"):
            sftp.putfo(io.BytesIO(name.encode()), name)
        refused(lambda: sftp.rename("a", "b"))
        sftp.posix_rename("a", "b")
        expect_equal(sftp.listdir(), ["b"], "after posix_rename")
        expect_equal(setup.object("renames/b").read(), b"a", "after posix_rename")
        sftp.rename("b", "c")
        sftp.mkdir("dir")
        refused(lambda: sftp.mkdir("dir"))
        refused(lambda: sftp.mkdir("c"))
        refused(lambda: sftp.mkdir("no/such"), number=errno.ENOENT)
        sftp.rename("c", "dir/c")
        refused(lambda: sftp.rmdir("dir"))
        refused(lambda: sftp.rmdir("dir/c"))
        refused(lambda: sftp.remove("dir"))
        sftp.rename("dir", "moved")
        expect_equal(set(setup.objects("renames")), {"moved/c"}, "after moving a directory")
        sftp.remove("moved/c")
        sftp.rmdir("moved")
        expect_equal(sftp.listdir(), [], "what is left")
        sftp.chdir("/")
        sftp.rmdir(top)
        refused(lambda: sftp.rmdir(setup.root))


@case("paramiko: copy-data of ranges and of a whole file")
def copies(setup, _):
    body = os.urandom(700_000)
    setup.put("copy-source", body)
    number = paramiko.sftp.int64

    def copy(sftp, source, offset, length, target, at):
        extended, name = paramiko.sftp.CMD_EXTENDED, "copy-data"
        fields = [source.handle, number(offset), number(length), target.handle, number(at)]
        sftp._request(extended, name, *fields)

    with connected(setup) as sftp:
        with sftp.open(f"{setup.root}/copy-source") as source:
            with sftp.open(f"{setup.root}/copy-ranges", "w") as target:
                copy(sftp, source, 100_000, 300_000, target, 0)
                copy(sftp, source, 600_000, 0, target, 300_000)
            with sftp.open(f"{setup.root}/copy-whole", "w") as target:
                copy(sftp, source, 0, 0, target, 0)
                # Before CLOSE, unlike what is written.
                expect(setup.object("copy-whole").read() == body, "the copy has other bytes")
                refused(lambda: copy(sftp, target, 0, 0, source, 0))
    ranges = body[100_000:400_000] + body[600_000:]
    expect(setup.object("copy-ranges").read() == ranges, "the ranges have other bytes")


@case("paramiko: awkward names")
def awkward(setup, _):
    names = awkward_names(not setup.seaweed)
    with connected(setup) as sftp:
        top = f"{setup.root}/paramiko-names"
        sftp.mkdir(top)
        for name in names:
            sftp.putfo(io.BytesIO(name.encode()), f"{top}/{name}")
        expect_equal(set(sftp.listdir(top)), set(names), "names")
        expect_equal(set(setup.objects("paramiko-names")), set(names), "names in S3")
        for name in names:
            into = io.BytesIO()
            sftp.getfo(f"{top}/{name}", into)
            expect_equal(into.getvalue(), name.encode(), "content")


@case("paramiko: 64 handles at once")
def handles(setup, _):
    bodies = [os.urandom(100_000 + number) for number in range(64)]
    with connected(setup) as sftp:
        top = f"{setup.root}/handles"
        sftp.mkdir(top)
        files = [sftp.open(f"{top}/{number}", "wb") for number in range(64)]
        for start in range(0, 101_000, 20_000):  # all of them grow side by side
            for file, body in zip(files, bodies):
                file.write(body[start : start + 20_000])
        for file in files:
            file.close()
        found = setup.objects("handles")
        expect_equal(len(found), 64, "objects")
        files = [sftp.open(f"{top}/{number}", "rb") for number in range(64)]
        for file, body in zip(files, bodies):
            file.prefetch(len(body))
        read = [file.read() for file in files]
        for file in files:
            file.close()
    expect(read == bodies, "a file came back with other bytes")


@case("paramiko: several channels of one connection")
def channels(setup, _):
    with connected(setup) as first:
        transport = first.get_channel().get_transport()
        others = [paramiko.SFTPClient.from_transport(transport) for _ in range(5)]
        for number, sftp in enumerate(others):
            sftp.putfo(io.BytesIO(b"x" * number), f"{setup.root}/channel-{number}")
        for number, sftp in enumerate(reversed(others)):
            expect_equal(sftp.stat(f"{setup.root}/channel-{number}").st_size, number, "size")
            sftp.close()
        expect(first.listdir(setup.root), "the first channel does not answer any more")


@case("paramiko: chmod, chown, utime, truncate, normalize, shell")
def attributes(setup, _):
    with connected(setup) as sftp:
        path = f"{setup.root}/attributes"
        sftp.putfo(io.BytesIO(b"content"), path)
        sftp.chmod(path, 0o600)
        sftp.chown(path, 1000, 1000)
        sftp.utime(path, (1_600_000_000, 1_600_000_000))
        expect_equal(setup.object("attributes").read(), b"content", "after setstat")
        expect_equal(sftp.normalize("."), "/", "normalize")
        expect_equal(sftp.normalize(f"{path}/../x/."), f"{setup.root}/x", "normalize")
        refused(lambda: sftp.symlink(path, f"{path}-link"))
        # Nothing runs, and whoever asked reads why.
        channel = sftp.get_channel().get_transport().open_session()
        channel.exec_command("id")
        said = channel.makefile_stderr().read()
        expect(said.startswith(b"This server only speaks SFTP and scp"), said)
        expect_equal(channel.makefile().read(), b"", "output of a command")
        expect_equal(channel.recv_exit_status(), 127, "exit status of a command")


@case("paramiko: a wrong password")
def wrong(setup, _):
    try:
        with connected(setup, password="wrong"):
            raise Failed("a wrong password was let in")
    except paramiko.AuthenticationException as error:
        expect_equal(str(error), "Authentication failed.", "the message")


@case("paramiko: checksums of an open file by check-file")
def checks(setup, material):
    content = bytes(range(256)) * 3000
    path = f"{setup.root}/paramiko-check"
    with connected(setup) as sftp:
        sftp.putfo(io.BytesIO(content), path)
        with sftp.open(path) as file:
            whole = hashlib.sha256(content).digest()
            expect_equal(file.check("sha256"), whole, "of the whole file")
            blocks = [content[at : at + 65536] for at in range(1000, len(content), 65536)]
            expected = b"".join(hashlib.md5(block).digest() for block in blocks)
            expect_equal(file.check("md5", 1000, 0, 65536), expected, "of blocks")
            refused(lambda: file.check("sha3"), says="sha512")
        sftp.remove(path)
