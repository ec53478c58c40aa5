"""curl, lftp and sshfs, which append to files and change them in place."""

import os
import pathlib
import random
import shutil
import subprocess
import time

from cases import Skipped, case, expect
from openssh import askpass, ssh_options
from processes import Failed, run


def needed(*programs):
    for program in programs:
        if shutil.which(program) is None:
            raise Skipped(f"{program} is not here")


def half_and_whole(folder, size=20_000_000, there=13_000_000):
    body = os.urandom(size)
    (folder / "half").write_bytes(body[:there])
    (folder / "whole").write_bytes(body)
    return body


@case("curl: -C - goes on with an upload, --append appends")
def curl(setup, _):
    needed("curl")
    if "sftp" not in run(["curl", "-V"]).output:
        raise Skipped("curl without SFTP")
    folder = setup.folder("curl")
    body = half_and_whole(folder)
    place = f"sftp://127.0.0.1:{setup.port}{setup.root}/curl-file"
    # The password is not for the list of processes.
    config = folder / "config"
    config.write_text(f'user = "{setup.user}:{setup.password}"\ninsecure\nsilent\nshow-error\n')
    call = ["curl", "-K", config]
    run([*call, "-T", folder / "half", place])
    run([*call, "-C", "-", "-T", folder / "whole", place])
    expect(setup.object("curl-file").read() == body, "-C - made another file")
    (folder / "more").write_bytes(b"more")
    run([*call, "--append", "-T", folder / "more", place])
    expect(setup.object("curl-file").read() == body + b"more", "--append made another file")
    back = folder / "half"
    run([*call, "-C", "-", "-o", back, place])
    expect(back.read_bytes() == body + b"more", "-C - downloaded another file")


@case("lftp: put -c goes on with an upload")
def lftp(setup, _):
    needed("lftp")
    folder = setup.folder("lftp")
    body = half_and_whole(folder)
    options = " ".join(str(option) for option in ssh_options(setup, password=True))
    script = folder / "script"
    script.write_text(
        f'set sftp:connect-program "ssh -a -x {options}"\n'
        "set cmd:fail-exit yes\n"
        f'open -u "{setup.user},{setup.password}" sftp://127.0.0.1:{setup.port}\n'
        f"cd {setup.root}\n"
        f"put {folder / 'half'} -o lftp-file\n"
        f"put -c {folder / 'whole'} -o lftp-file\n"
        f"get -c lftp-file -o {folder / 'half'}\n"
    )
    run(["lftp", "--norc", "-f", script])
    expect(setup.object("lftp-file").read() == body, "put -c made another file")
    expect((folder / "half").read_bytes() == body, "get -c made another file")


@case("sshfs: programs append and change files in place")
def sshfs(setup, _):
    needed("sshfs", "fusermount")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        raise Skipped("/dev/fuse is not here")
    mount = setup.folder("sshfs")
    body = bytearray(os.urandom(9_000_000))
    setup.put("sshfs-file", bytes(body))
    setup.put("sshfs-text", b"hello\n")
    ssh = " ".join(["ssh", *(str(option) for option in ssh_options(setup, password=True))])
    remote = f"{setup.user}@127.0.0.1:{setup.root}"
    mounted = run(
        ["sshfs", "-o", f"ssh_command={ssh}", "-o", "sshfs_sync", remote, mount],
        environment=askpass(setup),
        succeed=None,
    )
    if mounted.status != 0:
        raise Skipped(f"sshfs cannot mount here: {mounted.complaint()}")
    try:
        with open(mount / "sshfs-text", "ab") as file:
            file.write(b"world\n")
        change(mount / "sshfs-file", body)
    finally:
        subprocess.run(["fusermount", "-u", "-z", str(mount)], check=True)
    # sshfs does not wait for the answer to its CLOSE.
    until(lambda: setup.object("sshfs-text").read() == b"hello\nworld\n", "appended text")
    until(lambda: setup.object("sshfs-file").read() == bytes(body), "changed file")


def change(path: pathlib.Path, body: bytearray):
    """Changes a file in place and the copy alike, and compares what is read."""
    dice = random.Random(7)
    file = os.open(path, os.O_RDWR)
    try:
        for _ in range(40):
            at, length = dice.randrange(len(body)), dice.randrange(1, 100_000)
            if dice.random() < 0.5:
                piece = dice.randbytes(length)
                os.pwrite(file, piece, at)
                body[at : at + length] = piece
            found = os.pread(file, length, at)
            expect(found == bytes(body[at : at + length]), f"{length} bytes at {at} differ")
        os.ftruncate(file, 8_000_000)
        del body[8_000_000:]
    finally:
        os.close(file)


def until(holds, what, seconds=60):
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise Failed(f"{what}: S3 holds something else")
        time.sleep(0.2)
