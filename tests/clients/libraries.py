"""Libraries of other languages, which go on with uploads and downloads and append: JSch (Java), ssh2-sftp-client (Node.js) and phpseclib (PHP).

Where a language or its library is missing the case is skipped. JSch and ssh2-sftp-client are looked
for in `target/clients-libraries` (see README.md), phpseclib where Debian's `php-phpseclib3` puts it.
"""

import os
import pathlib

from cases import Skipped, case, expect
from changes import needed
from processes import run

HERE = pathlib.Path(__file__).parent / "other-languages"
FETCHED = pathlib.Path(__file__).resolve().parents[2] / "target/clients-libraries"
SIZE, THERE = 14_000_000, 9_000_000


def resumes(setup, name, command, environment=None):
    """Lets a program resume both ways and append, and compares what S3 and the program then have."""
    folder = setup.folder(f"library-{name}")
    body, more = os.urandom(SIZE), os.urandom(70_000)
    for local, content in (("half", body[:THERE]), ("whole", body), ("more", more), ("back", body[:THERE])):
        (folder / local).write_bytes(content)
    setup.put(f"library-{name}/")
    place = f"{setup.root}/library-{name}"
    arguments = [*command, "127.0.0.1", setup.port, setup.user, setup.password, place, folder]
    run(arguments, environment=environment, seconds=200)
    stored = setup.object(f"library-{name}/file").read()
    expect(stored == body + more, f"{len(stored)} bytes are stored, which are not those that were sent")
    expect((folder / "back").read_bytes() == body + more, "the resumed download has other bytes")


@case("JSch: put and get with RESUME, put with APPEND")
def jsch(setup, _):
    needed("java")
    jars = sorted(FETCHED.glob("jsch-*.jar"))
    if not jars:
        raise Skipped("JSch is not here")
    resumes(setup, "jsch", ["java", "-cp", jars[-1], HERE / "Jsch.java"])


@case("ssh2-sftp-client: put and get from a start, append")
def ssh2(setup, _):
    needed("node")
    modules = FETCHED / "node_modules"
    if not (modules / "ssh2-sftp-client").is_dir():
        raise Skipped("ssh2-sftp-client is not here")
    resumes(setup, "ssh2", ["node", HERE / "ssh2.js"], {"NODE_PATH": str(modules)})


@case("phpseclib: put with RESUME, append, get from an offset")
def phpseclib(setup, _):
    needed("php")
    if not pathlib.Path("/usr/share/php/phpseclib3").is_dir():
        raise Skipped("phpseclib is not here")
    resumes(setup, "phpseclib", ["php", HERE / "phpseclib.php"])
