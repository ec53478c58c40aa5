"""Logs.

Attacked is the record: user names, paths, channel requests and version lines with line breaks and
terminal escapes, to forge a line or to hide one; floods of unknown channel requests, of connections
without a byte and of refused logins, to fill the disk.

Must hold: the log's bytes are bounded; no line begins with what a client sent and none has a raw
control character; every line about the honest sessions is there.
"""

import collections
import contextlib
import re

import honest
import paramiko
from attack import attack
from scene import PASSWORD, STRANGER, STRANGERS
from wire import Closed, dial

FORGED = "2026-01-01T00:00:00.000000Z  INFO portcullis::audit: login allowed user=\"FORGED\""
BREAKS = ["\n", "\r\n", "\r", "\x1b[2K\x1b[1A\r", "\x0b", "\x0c", "\x85", "\u2028", "\u2029", "\x9b2J"]
RAW = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]")
CHANNEL_REQUEST, DISCONNECT = 98, 1
REQUEST_BYTES = 30_000
REQUESTS = 1_000
EMPTY_CONNECTIONS = 200
REFUSED_LOGINS = 120
# Whoever floods gets at most this for it, in all.
LOG_BYTES_MAX = 1024 * 1024


def forges_and_floods(scene):
    """A stranger and a logged-in user write whatever they can into the log."""
    scene.at_once(
        lambda: names_before_login(scene),
        lambda: logged_in(scene),
        lambda: says_nothing(scene),
        lambda: fails_to_log_in(scene),
    )


def texts():
    return [f"a{gap}{FORGED}" for gap in BREAKS]


def names_before_login(scene):
    """User names, version lines and the words of a farewell."""
    for text in texts():
        scene.tries(text[:100], ["any"])
        scene.act("forgeries")
        for bare in (text.replace("\n", " "), text):
            with contextlib.suppress(Closed), scene.wire() as wire:
                wire.ours = b"SSH-2.0-" + bare.encode()[:200]
                wire.ready().password("mallory", "wrong")
        with contextlib.suppress(Closed), scene.wire() as wire:
            wire.ready()
            message = paramiko.Message()
            message.add_byte(bytes([DISCONNECT]))
            message.add_int(11)
            message.add_string(text)
            message.add_string("")
            wire.send(message.asbytes())
            wire.receive()


def logged_in(scene):
    """Paths and requests of a user who is in."""
    row = {"user": "mallory", "password": PASSWORD, "source": STRANGERS[1], "method": "password"}
    client, sftp = honest.connect(scene.plan, row)
    try:
        paths(scene, sftp)
        channel = client.get_transport().open_session(timeout=20)
        for text in texts():
            for kind in (text, "env", "exec", "subsystem", "shell"):
                request(scene, client, channel, kind, text)
        for number in range(REQUESTS):
            request(scene, client, channel, f"{number}-" + "x" * REQUEST_BYTES)
        # An answer to what came last: everything before it was read.
        sftp.stat("/")
    except (OSError, paramiko.SSHException, EOFError) as error:
        scene.note(f"the logged-in user was cut off: {error}")
    finally:
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


def request(scene, client, channel, kind, value=None):
    message = paramiko.Message()
    message.add_byte(bytes([CHANNEL_REQUEST]))
    message.add_int(channel.remote_chanid)
    message.add_string(kind)
    message.add_boolean(False)
    if value is not None:
        message.add_string(value)
        message.add_string(value)
    client.get_transport()._send_user_message(message)
    scene.act("channel requests")


def says_nothing(scene):
    for _ in range(EMPTY_CONNECTIONS):
        with contextlib.suppress(Closed):
            dial(scene.port, STRANGER).close()
            scene.act("empty connections")


def fails_to_log_in(scene):
    for number in range(REFUSED_LOGINS // 6):
        scene.tries(f"nobody-{number}-{'y' * 80}", ["wrong"] * 6, STRANGERS[2])


def nothing_is_forged(scene):
    text = scene.log.text()
    scene.expect(scene.acts["channel requests"] >= REQUESTS, "the flood did not come through")
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
        log_bytes_max=LOG_BYTES_MAX,
        seconds=(4, 30),
    )(forges_and_floods)
