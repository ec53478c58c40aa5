"""Logs.

Attacked is the record: user names, paths, channel requests and version lines with line breaks and
terminal escapes, to forge a line or to hide one; floods of unknown channel requests, of connections
without a byte and of refused logins, to fill the disk.

Must hold: the log's bytes are bounded; no line begins with what a client sent and none has a raw
control character; every line about the honest sessions is there.
"""

import collections
import contextlib
import logging
import re

import honest
import paramiko
from attack import attack
from scene import PASSWORD, STRANGER, STRANGERS
from wire import Closed, dial, string

FORGED = "2026-01-01T00:00:00.000000Z  INFO portcullis::audit: login allowed user=\"FORGED\""
BREAKS = ["\n", "\r\n", "\r", "\x1b[2K\x1b[1A\r", "\x0b", "\x0c", "\x85", "\u2028", "\x9b2J"]
RAW = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f]")
# That a connection was cut is what this attack expects.
logging.getLogger("paramiko").addHandler(logging.NullHandler())
CHANNEL_REQUEST, DISCONNECT = 98, 1
REQUEST_BYTES = 30_000
REQUESTS = 1_000
EMPTY_CONNECTIONS = 200
REFUSED_SIDE_BY_SIDE = 6


def forges_and_floods(scene):
    """A stranger and a logged-in user write whatever they can into the log."""
    scene.at_once(
        lambda: names_before_login(scene),
        lambda: writes_paths(scene),
        lambda: floods(scene),
        lambda: says_nothing(scene),
        lambda: fails_to_log_in(scene),
    )


def texts():
    return [f"a{gap}{FORGED}" for gap in BREAKS]


def names_before_login(scene):
    """User names, version lines and the words of a farewell."""
    scene.at_once(*(lambda text=text: forges(scene, text) for text in texts()))


def forges(scene, text):
    scene.act("forgeries", 4)
    scene.tries(text[:100], ["any"])
    for version in (text.replace("\n", " "), text):
        with contextlib.suppress(Closed), scene.wire(seconds=2) as wire:
            wire.ours = b"SSH-2.0-" + version.encode()[:200]
            wire.ready().password("mallory", "wrong")
    with contextlib.suppress(Closed), scene.wire(seconds=2) as wire:
        wire.ready()
        wire.send(bytes([DISCONNECT]) + (11).to_bytes(4, "big") + string(text) + string(""))
        wire.receive()


def writes_paths(scene):
    """Paths and requests of a user who is in, with line breaks and escapes."""
    with entered(scene) as (client, sftp):
        paths(scene, sftp)
        for text in texts():
            client.get_transport().global_request(text, wait=False)
            one = [(kind, [text]) for kind in ("exec", "subsystem")]
            for kind, values in [(text, []), ("env", [text] * 2), *one]:
                channel = client.get_transport().open_session(timeout=20)
                request(client, channel, kind, *values)
                scene.act("forgeries")
                channel.close()


def floods(scene):
    """Channel requests that nobody knows, as long as they may be."""
    sent = 0
    while sent < REQUESTS and not scene.over():
        with entered(scene) as (client, sftp):
            while sent < REQUESTS and not scene.over():
                request(client, sftp.get_channel(), f"{sent}-" + "x" * REQUEST_BYTES)
                sent += 1
                scene.act("channel requests")
            # An answer to what came last: everything before it was read.
            sftp.stat("/")


@contextlib.contextmanager
def entered(scene):
    row = {"user": "mallory", "password": PASSWORD, "source": STRANGERS[1], "method": "password"}
    client = None
    try:
        client, sftp = honest.connect(scene.plan, row)
        yield client, sftp
    except (OSError, paramiko.SSHException, EOFError):
        pass  # cut off, which is an answer as good as any
    finally:
        if client:
            client.close()


def paths(scene, sftp):
    for number, text in enumerate(texts()):
        path = f"/{number}{text}"
        scene.act("forgeries")
        with contextlib.suppress(OSError):
            sftp.mkdir(path)
        with contextlib.suppress(OSError):
            sftp.rename(path, f"{path}-2")
        with contextlib.suppress(OSError), sftp.open(f"{path}-2/file", "w") as file:
            file.write(b"content")
        for action in (sftp.remove, sftp.stat, sftp.rmdir):
            for end in ("/file", ""):
                with contextlib.suppress(OSError):
                    action(f"{path}-2{end}")


def request(client, channel, kind, *values):
    """A channel request that asks for no answer."""
    message = paramiko.Message()
    message.add_byte(bytes([CHANNEL_REQUEST]))
    message.add_int(channel.remote_chanid)
    message.add_string(kind)
    message.add_boolean(False)
    for value in values:
        message.add_string(value)
    client.get_transport()._send_user_message(message)


def says_nothing(scene):
    for _ in range(EMPTY_CONNECTIONS):
        with contextlib.suppress(Closed):
            dial(scene.port, STRANGER).close()
            scene.act("empty connections")


def fails_to_log_in(scene):
    """Another long name each time, so that no refusal is delayed for long."""
    scene.at_once(*(lambda: refused(scene) for _ in range(REFUSED_SIDE_BY_SIDE)))


def refused(scene):
    while not scene.over():
        with contextlib.suppress(Closed), scene.wire(STRANGERS[2]) as wire:
            wire.ready()
            while not scene.over():
                name = f"nobody-{scene.act('passwords')}-"
                wire.password(name.ljust(100, "y"), "wrong")


def nothing_is_forged(scene):
    text = scene.log.text()
    flood = scene.acts["channel requests"]
    scene.expect(flood >= 100, f"{flood} channel requests: that was no flood")
    scene.expect("FORGED" in text or "a\\n" in text, "nothing that was sent is in the log at all")
    raw = RAW.search(text)
    shown = raw and text[max(0, raw.start() - 80) : raw.end() + 40]
    scene.expect(not raw, f"a raw control character in the log: {shown!r}")
    begins = re.compile(r"^(\d{4}-\d\d-\d\dT\S+Z +[A-Z]+ |\{)")
    forged = [
        line
        for line in text.split("\n")
        if line and (not begins.match(line) or line.startswith(FORGED[:20]))
    ]
    scene.expect(not forged, f"{len(forged)} forged lines, such as {forged[:1]!r:.200}")
    honest_lines_are_there(scene, text)


def honest_lines_are_there(scene, text):
    """One line at least for each file that honest users put, got and removed, and each login."""
    rounds = collections.Counter()
    for record in scene.records:
        rounds.update(record["users"])
    for user, count in rounds.items():
        # The text format has the place of the object in each line of an upload.
        for word, many in (("uploaded", count), ("downloaded", count)):
            found = sum(
                word in line and f"s3://attacks/{user}/" in line for line in text.split("\n")
            )
            scene.expect(found == many, f"{user}: {found} lines `{word}` instead of {many}")
    logins = sum("login allowed" in line and "127.0.1." in line for line in text.split("\n"))
    scene.expect(logins >= len(rounds), f"{logins} lines of honest logins")


for form in ("json", "text"):
    attack(
        f"logs: forgeries and floods, {form} format",
        check=nothing_is_forged,
        log_format=form,
        with_a_line=("passwords", "forgeries", "empty connections"),
        seconds=(3, 30),
    )(forges_and_floods)
