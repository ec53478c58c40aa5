"""Ordinary programs on files that sshfs mounts: editors, sed, tar, git, dd, SQLite, rsync, cp and touch."""

import contextlib
import os
import sqlite3
import subprocess

from cases import Skipped, case, expect, expect_equal
from changes import needed, until
from openssh import askpass, ssh_options
from processes import run

# Whole seconds, as SFTP's third version has them.
THEN = 1_600_000_000
SQLITE_ROUNDS = 5


@contextlib.contextmanager
def mounted(setup, name, *options):
    """Mounts a new directory below the root; the files are under its name in S3."""
    needed("sshfs", "fusermount")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        raise Skipped("/dev/fuse is not here")
    mount = setup.folder(name)
    ssh = " ".join(["ssh", *(str(option) for option in ssh_options(setup, password=True))])
    flags = [flag for option in ("sshfs_sync", *options) for flag in ("-o", option)]
    did = run(
        ["sshfs", "-o", f"ssh_command={ssh}", *flags, f"{setup.user}@127.0.0.1:{setup.root}", mount],
        environment=askpass(setup),
        succeed=None,
    )
    if did.status != 0:
        raise Skipped(f"sshfs cannot mount here: {did.complaint()}")
    try:
        (mount / name).mkdir()
        yield mount / name
    finally:
        subprocess.run(["fusermount", "-u", "-z", str(mount)], check=True)


def stored(setup, name, body):
    """Waits until S3 holds these bytes: sshfs does not wait for the answer to its CLOSE."""

    def holds():
        try:
            return setup.object(name).read() == body
        except setup.s3.exceptions.NoSuchKey:
            return False

    until(holds, name)


def only(setup, folder, *names):
    """Waits until these files are there, and nothing that a program left behind."""
    until(lambda: sorted(setup.objects(folder)) == sorted(names), folder)


@case("sshfs: editors save by rename and in place")
def editors(setup, _):
    with mounted(setup, "fuse-editors") as folder:
        text = folder / "text"
        for round_ in range(3):
            text.write_text("one\ntwo\n")
            # As most editors save: another file under the name.
            beside = folder / ".text.new"
            with open(beside, "w", encoding="ascii") as file:
                file.write(f"round {round_}\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, text)
            expect_equal(text.read_text(), f"round {round_}\n", "what was saved by rename")
            run(["sed", "-i", "s/round/sed/", text])
            expect_equal(text.read_text(), f"sed {round_}\n", "what sed -i made")
            # In place, over more bytes than there were and over fewer.
            for line in ("a line that is longer\n", "short\n"):
                with open(text, "r+", encoding="ascii") as file:
                    file.truncate(0)
                    file.write(line)
                expect_equal(text.read_text(), line, "what was saved in place")
        programs(text)
        last = text.read_bytes()
    stored(setup, "fuse-editors/text", last)
    only(setup, "fuse-editors", "text")


def programs(text):
    """Those editors that are here."""
    text.write_text("one\ntwo\n")
    for program, arguments, script in (
        ("ed", ["ed", "-s", text], "s/two/ed/\nw\nq\n"),
        *((("vim", ["vim", "-u", "NONE", "-i", "NONE", "-n", "-es", "-c", f"set backup backupcopy={way}",
                    "-c", "%s/.*/vim-" + way + "/", "-c", "wq", text], "") for way in ("yes", "no"))),
    ):
        with contextlib.suppress(Skipped):
            needed(program)
            run(arguments, text=script)
            expect(program in text.read_text(), f"{program}: {text.read_text()!r}")
            with contextlib.suppress(FileNotFoundError):
                text.with_name("text~").unlink()


@case("sshfs: tar packs, adds, lists and unpacks")
def tar(setup, material):
    needed("tar")
    with mounted(setup, "fuse-tar") as folder:
        some = sorted(path for path in material.tree.rglob("*") if path.is_file())[:40]
        names = [str(path.relative_to(material.tree)) for path in some]
        archive = folder / "some.tar"
        run(["tar", "-C", material.tree, "-cf", archive, *names[:-1]])
        run(["tar", "-C", material.tree, "-rf", archive, names[-1]])
        expect_equal(run(["tar", "-tf", archive]).output.splitlines(), names, "names in the archive")
        out = folder / "out"
        out.mkdir()
        run(["tar", "-C", out, "--no-same-owner", "-xf", archive])
        for path, name in zip(some, names, strict=True):
            expect((out / name).read_bytes() == path.read_bytes(), f"{name} was unpacked otherwise")
        run(["tar", "-C", material.tree, "--compare", "--file", archive])
    for path, name in zip(some, names, strict=True):
        stored(setup, f"fuse-tar/out/{name}", path.read_bytes())


@case("sshfs: a git repository")
def git(setup, _):
    needed("git")
    home = setup.folder("fuse-git-home")
    environment = {"HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1"}
    for name in ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"):
        environment[name] = "ann"
    for name in ("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"):
        environment[name] = "ann@example.com"
    with mounted(setup, "fuse-git") as folder:

        def say(*words):
            return run(["git", "-c", "safe.directory=*", *words], cwd=folder, environment=environment).output

        say("init", "-q", "-b", "main")
        for number in range(2):
            (folder / "text").write_text(f"{number}\n" * 1_000)
            (folder / f"file-{number}").write_bytes(os.urandom(30_000))
            say("add", ".")
            say("commit", "-q", "-m", f"number {number}")
        say("branch", "other", "HEAD~1")
        say("checkout", "-q", "other")
        expect_equal((folder / "text").read_text(), "0\n" * 1_000, "what was checked out")
        say("checkout", "-q", "main")
        say("repack", "-adq")
        say("fsck", "--strict")
        expect_equal(len(say("log", "--oneline").splitlines()), 2, "commits")
        expect_equal(say("status", "--porcelain"), "", "what git finds changed")
    # Somebody who has only the objects clones the same.
    expect(any(name.endswith(".pack") for name in setup.objects("fuse-git/.git/objects")), "no pack is stored")


@case("sshfs: files that are closed, and renamed or removed at once")
def at_once(setup, _):
    # The kernel does not wait until a file is released: the request on its name may come first.
    with mounted(setup, "fuse-at-once") as folder:
        target, kept = folder / "target", folder / "kept"
        # More than a part: S3 fixes the name of its upload when that begins.
        large = os.urandom(20_000_000)
        for round_ in range(200):
            body = f"{round_} ".encode() * (round_ % 7 * 900 + 1)
            beside = folder / f"beside-{round_ % 3}"
            beside.write_bytes(body)
            os.replace(beside, target)
            expect(target.read_bytes() == body, f"round {round_}: other bytes after a rename")
            expect(not beside.exists(), f"round {round_}: the old name is still there")
            beside.write_bytes(body)
            beside.unlink()
            expect(not beside.exists(), f"round {round_}: a removed file is still there")
            with open(beside, "w+b") as file:
                beside.unlink()
                file.write(body)
                file.seek(0)
                expect(file.read() == body, f"round {round_}: a removed file holds other bytes")
            expect(not beside.exists(), f"round {round_}: a file that was removed while open is there")
            if round_ % 40 == 0:
                beside.write_bytes(large)
                os.replace(beside, kept)
                expect(kept.read_bytes() == large, f"round {round_}: other bytes after a large rename")
    stored(setup, "fuse-at-once/target", body)
    stored(setup, "fuse-at-once/kept", large)
    only(setup, "fuse-at-once", "kept", "target")


@case("sshfs: dd writes into a file, and truncate cuts it")
def dd(setup, _):
    needed("dd", "truncate")
    body = bytearray(os.urandom(9_000_000))
    with mounted(setup, "fuse-dd") as folder:
        file = folder / "file"
        file.write_bytes(body)
        for at, blocks in ((0, 1), (7, 3), (2_190, 5)):
            piece = os.urandom(blocks * 4_096)
            source = setup.directory / "dd-piece"
            source.write_bytes(piece)
            run(["dd", f"if={source}", f"of={file}", "bs=4096", f"seek={at}", "conv=notrunc", "status=none"])
            body[at * 4_096 : at * 4_096 + len(piece)] = piece
            expect(file.read_bytes() == body, f"dd at block {at} made another file")
        run(["dd", f"if={source}", f"of={file}", "oflag=append", "conv=notrunc", "status=none"])
        body += piece
        for size in (9_100_000, 6_000_000):
            run(["truncate", "-s", str(size), file])
            body = (body + bytes(size))[:size]
            expect(file.read_bytes() == body, f"truncate to {size} made another file")
    stored(setup, "fuse-dd/file", bytes(body))


@case("sshfs: an SQLite database")
def sqlite(setup, _):
    with mounted(setup, "fuse-sqlite") as folder:
        path = folder / "data.db"
        for round_ in range(SQLITE_ROUNDS):
            with contextlib.closing(sqlite3.connect(path, timeout=5)) as base:
                base.execute("create table if not exists t (n integer primary key, text)")
                for commit in range(3):
                    with base:
                        rows = [(f"{round_} {commit} {row} " + "x" * 200,) for row in range(200)]
                        base.executemany("insert into t (text) values (?)", rows)
                with base:
                    base.execute("update t set text = 'changed' where n % 7 = 0")
                # What is rolled back was never there.
                base.execute("delete from t")
                base.rollback()
                count = base.execute("select count(*) from t").fetchone()[0]
                expect_equal(count, (round_ + 1) * 600, "rows in the same connection")
        with contextlib.closing(sqlite3.connect(path)) as base:
            expect_equal(base.execute("pragma integrity_check").fetchone(), ("ok",), "the database")
            expect_equal(base.execute("select count(*) from t").fetchone(), (SQLITE_ROUNDS * 600,), "rows")
        body = path.read_bytes()
    stored(setup, "fuse-sqlite/data.db", body)
    only(setup, "fuse-sqlite", "data.db")
    copy = setup.directory / "stored.db"
    copy.write_bytes(setup.object("fuse-sqlite/data.db").read())
    with contextlib.closing(sqlite3.connect(copy)) as base:
        expect_equal(base.execute("pragma integrity_check").fetchone(), ("ok",), "the stored database")


@case("sshfs: rsync -t sends nothing the second time; cp -p and touch keep times")
def times(setup, material):
    needed("rsync")
    if not setup.keeps_times:
        raise Skipped("sftp.mtime = \"skip\" here")
    source = setup.folder("fuse-times-source")
    for number, path in enumerate(sorted(path for path in material.tree.rglob("*") if path.is_file())[:20]):
        copy = source / f"file-{number}"
        copy.write_bytes(path.read_bytes())
        os.utime(copy, (THEN + number, THEN + number))
    (source / "large").write_bytes(os.urandom(12_000_000))
    os.utime(source / "large", (THEN, THEN))
    with mounted(setup, "fuse-times") as folder:

        def send():
            return run(["rsync", "-rt", "--itemize-changes", f"{source}/", folder / "synced"]).output

        sent = [line for line in send().splitlines() if line.startswith(">f")]
        expect_equal(len(sent), 21, "files that rsync sent")
        # The time of a directory is not kept.
        again = [line for line in send().splitlines() if not line.startswith(".d")]
        expect_equal(again, [], "what rsync sent the second time")
        (source / "file-3").write_bytes(b"changed")
        expect_equal(len([line for line in send().splitlines() if line.startswith(">f")]), 1, "files that changed")
        run(["cp", "-p", source / "large", folder / "copied"])
        expect_equal(int((folder / "copied").stat().st_mtime), THEN, "the time after cp -p")
        run(["touch", "-d", f"@{THEN + 77}", folder / "copied"])
        run(["touch", folder / "new"])
        expect_equal(int((folder / "copied").stat().st_mtime), THEN + 77, "the time after touch")
        expect_equal((folder / "new").stat().st_size, 0, "the size of a touched file")
        expect((folder / "copied").read_bytes() == (source / "large").read_bytes(), "cp -p made another file")
    with mounted(setup, "fuse-times-2") as folder:
        for path in source.iterdir():
            found = folder.parent / "fuse-times/synced" / path.name
            expect_equal(int(found.stat().st_mtime), int(path.stat().st_mtime), f"the time of {path.name}")
