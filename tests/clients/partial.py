"""Clients that are killed in the middle of an upload, and go on where it stopped."""

import os
import socket
import subprocess
import time

import paramiko
from botocore.exceptions import ClientError

from cases import Skipped, case, expect, expect_equal
from changes import needed
from openssh import askpass, sftp, ssh_options
from paramiko_client import connected
from processes import Failed, kill_group

ROOT = "/kept"
PREFIX = "kept/"
SIZE = 30_000_000


def kept(setup):
    """Skips where no mapping keeps partial uploads."""
    if setup.name != "serve":
        raise Skipped("the demo user's mapping keeps nothing")


def look(setup, name):
    """What S3 says of an object: its size and whether it is marked as partial, or nothing."""
    try:
        head = setup.s3.head_object(Bucket=setup.bucket, Key=PREFIX + name)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return None
        raise
    return head["ContentLength"], "portcullis-partial" in head["Metadata"]


def until_kept(setup, name, body):
    """Waits until the beginning of a file is there, and marked; returns its size."""
    deadline = time.monotonic() + 60
    while not ((found := look(setup, name)) and found[1]):
        if time.monotonic() > deadline:
            raise Failed(f"{name}: no partial upload, but {found}")
        time.sleep(0.1)
    size = found[0]
    expect(0 < size < len(body), f"{name}: {size} bytes were kept of {len(body)}")
    stored = setup.s3.get_object(Bucket=setup.bucket, Key=PREFIX + name)["Body"].read()
    expect(stored == body[:size], f"{name}: what was kept is no beginning of the file")
    return size


def expect_whole(setup, name, body):
    stored = setup.s3.get_object(Bucket=setup.bucket, Key=PREFIX + name)["Body"].read()
    expect(stored == body, f"{name}: another file was made")
    expect_equal(look(setup, name), (len(body), False), f"{name}: size and mark")


def killed(arguments, seconds, **more):
    """Starts a client and kills it in the middle of what it does."""
    process = subprocess.Popen(
        [str(argument) for argument in arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        **more,
    )
    time.sleep(seconds)
    ended = process.poll() is not None
    kill_group(process)
    process.wait()
    expect(not ended, f"{arguments[0]} had ended before it was killed")


@case("sftp: an upload that was killed is resumed by reput")
def openssh(setup, _):
    kept(setup)
    folder = setup.folder("kept-sftp")
    body = os.urandom(SIZE)
    (folder / "whole").write_bytes(body)
    batch = folder / "batch"
    batch.write_text(f"put {folder / 'whole'} {ROOT}/sftp-file\n")
    # 32,000 Kbit/s: some seconds.
    arguments = ["sftp", "-l", "32000", *ssh_options(setup), "-b", batch, "127.0.0.1"]
    killed(arguments, 4, stdin=subprocess.DEVNULL, env={**os.environ, **askpass(setup)})
    until_kept(setup, "sftp-file", body)
    sftp(setup, [f"reput {folder / 'whole'} {ROOT}/sftp-file"])
    expect_whole(setup, "sftp-file", body)


@case("lftp: an upload that was killed is resumed by put -c")
def lftp(setup, _):
    kept(setup)
    needed("lftp")
    folder = setup.folder("kept-lftp")
    body = os.urandom(SIZE)
    (folder / "whole").write_bytes(body)
    options = " ".join(str(option) for option in ssh_options(setup, password=True))

    def script(name, *lines):
        path = folder / name
        path.write_text(
            f'set sftp:connect-program "ssh -a -x {options}"\n'
            "set cmd:fail-exit yes\n"
            f'open -u "{setup.user},{setup.password}" sftp://127.0.0.1:{setup.port}\n'
            f"cd {ROOT}\n" + "".join(f"{line}\n" for line in lines)
        )
        return ["lftp", "--norc", "-f", path]

    put = f"put {folder / 'whole'} -o lftp-file"
    killed(script("slow", "set net:limit-rate 0:4000000", put), 4, stdin=subprocess.DEVNULL)
    until_kept(setup, "lftp-file", body)
    ended = subprocess.run(
        [str(one) for one in script("rest", put.replace("put", "put -c", 1))],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        check=False,
    )
    expect_equal(ended.returncode, 0, f"lftp: {ended.stderr[-400:]!r}")
    expect_whole(setup, "lftp-file", body)


@case("paramiko: an upload whose connection was cut is appended to")
def append(setup, _):
    kept(setup)
    body = os.urandom(SIZE)
    for there in (1_000_000, 20_000_000):
        name = f"paramiko-{there}"
        try:
            with connected(setup) as client:
                file = client.open(f"{ROOT}/{name}", "w")
                file.set_pipelined(True)
                file.write(body[:there])
                # What is on its way has come when this is answered.
                expect_equal(file.stat().st_size, there, "size before the cut")
                client.get_channel().get_transport().sock.shutdown(socket.SHUT_RDWR)
        except (EOFError, OSError, paramiko.SSHException):
            pass
        with connected(setup) as client:
            # Whoever comes at once waits until the outcome is known.
            size = client.stat(f"{ROOT}/{name}").st_size
            until_kept(setup, name, body)
            expect_equal(size, there, "size that STAT shows")
            with client.open(f"{ROOT}/{name}", "a") as file:
                file.set_pipelined(True)
                file.write(body[size:])
        expect_whole(setup, name, body)
