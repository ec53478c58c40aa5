"""SFTP sessions over `wire.py`, many on one connection: a client that listens when it wants to.

One call sends one request or takes one answer; what is sent beyond the channel's window waits for
it, which is the one thing for which a client has to listen that otherwise does not.
"""

import collections
import struct

from wire import Closed, read_string, string

CHANNEL_OPEN, CHANNEL_CONFIRMED, CHANNEL_REFUSED = 90, 91, 92
WINDOW_ADJUST, CHANNEL_DATA, CHANNEL_EOF, CHANNEL_CLOSE = 93, 94, 96, 97
CHANNEL_REQUEST, CHANNEL_SUCCESS = 98, 99
INIT, VERSION, OPEN, CLOSE, READ, WRITE = 1, 2, 3, 4, 5, 6
OPENDIR, READDIR, REMOVE, STAT = 11, 12, 13, 17
STATUS, HANDLE, DATA, ATTRS = 101, 102, 103, 105
FOR_READING, FOR_WRITING = 0x01, 0x02 | 0x08 | 0x10
OK, EOF = 0, 1
PIECE = 32 * 1024
UNDER_WAY = 16
WINDOW = 2**31 - 1


class Visitor:
    """A user who is in; closing it is the caller's: `with Visitor(…) as visitor`."""

    def __init__(self, wire, user, password):
        self.wire, self.channels = wire, []
        try:
            if not wire.ready().password(user, password):
                raise Closed("refused")
        except BaseException:
            wire.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.wire.close()

    def session(self):
        """Opens a channel with an SFTP session; None if there are too many."""
        number = len(self.channels)
        limits = struct.pack(">III", number, WINDOW, PIECE)
        self.wire.send(bytes([CHANNEL_OPEN]) + string("session") + limits)
        channel = Channel(self, number)
        self.channels.append(channel)
        while channel.state == "asked":
            self.listen()
        if channel.state == "refused":
            self.channels.pop()
            return None
        asked = b"\x01" + string("sftp")
        self.wire.send(channel.head(CHANNEL_REQUEST) + string("subsystem") + asked)
        while channel.state == "open":
            self.listen()
        channel.send(string(struct.pack(">BI", INIT, 3)))
        channel.answer(VERSION)
        return channel

    def listen(self):
        """Takes one message."""
        message = self.wire.receive()
        channel = self.channels[struct.unpack_from(">I", message, 1)[0]]
        channel.hear(message[0], message)


class Channel:
    """One channel with an SFTP session."""

    def __init__(self, visitor, number):
        self.visitor, self.number = visitor, number
        self.state, self.theirs, self.window = "asked", 0, 0
        self.stream, self.asked = bytearray(), 0

    def head(self, kind):
        return struct.pack(">BI", kind, self.theirs)

    def hear(self, kind, message):
        if kind == CHANNEL_CONFIRMED:
            self.theirs, self.window = struct.unpack_from(">II", message, 5)
            self.state = "open"
        elif kind == CHANNEL_REFUSED:
            self.state = "refused"
        elif kind == CHANNEL_SUCCESS:
            self.state = "sftp"
        elif kind == WINDOW_ADJUST:
            self.window += struct.unpack_from(">I", message, 5)[0]
        elif kind == CHANNEL_DATA:
            self.stream += read_string(message, 5)[0]
        elif kind in (CHANNEL_EOF, CHANNEL_CLOSE):
            raise Closed("the session has ended")

    def send(self, data):
        """Sends bytes; listens as long as the window is shut."""
        while data:
            while not self.window:
                self.visitor.listen()
            count = min(self.window, PIECE)
            piece, data = data[:count], data[count:]
            self.window -= len(piece)
            self.visitor.wire.send(self.head(CHANNEL_DATA) + string(piece))

    def ask(self, kind, *fields):
        """Sends one request and does not wait; returns its number."""
        self.asked += 1
        body = b"".join(
            struct.pack(">I", field) if isinstance(field, int) else field for field in fields
        )
        self.send(string(struct.pack(">BI", kind, self.asked) + body))
        return self.asked

    def packet(self):
        """Takes the next answer, whatever it answers."""
        while len(self.stream) < 4 or len(self.stream) < 4 + self.length():
            self.visitor.listen()
        end = 4 + self.length()
        packet, self.stream = bytes(self.stream[4:end]), self.stream[end:]
        return packet

    def length(self):
        return struct.unpack_from(">I", self.stream)[0]

    def answer(self, kind):
        """Takes the next answer, which must be of this kind."""
        packet = self.packet()
        if packet[0] != kind:
            raise AssertionError(f"{packet[:80]!r} instead of a packet of kind {kind}")
        return packet

    def ok(self):
        code = struct.unpack_from(">I", self.answer(STATUS), 5)[0]
        if code != OK:
            raise AssertionError(f"status {code}")

    # ---- whole operations ----

    def open(self, path, flags):
        self.ask(OPEN, string(path), flags, 0)
        return string(read_string(self.answer(HANDLE), 5)[0])

    def write(self, handle, offset, data):
        """Asks for one WRITE and does not wait."""
        self.ask(WRITE, handle, struct.pack(">Q", offset), string(data))

    def close(self, handle):
        self.ask(CLOSE, handle)
        self.ok()

    def put(self, path, body):
        """Uploads, some WRITEs ahead of their answers."""
        handle, waiting = self.open(path, FOR_WRITING), 0
        for offset in range(0, len(body), PIECE):
            if waiting == UNDER_WAY:
                self.ok()
                waiting -= 1
            self.write(handle, offset, body[offset : offset + PIECE])
            waiting += 1
        for _ in range(waiting):
            self.ok()
        self.close(handle)

    def get(self, path, size):
        """Downloads a file of this size, and checks that it ends there."""
        handle = self.open(path, FOR_READING)
        offsets = collections.deque(range(0, size + 1, PIECE))
        waiting, pieces = collections.deque(), {}
        while offsets or waiting:
            while offsets and len(waiting) < UNDER_WAY:
                offset = offsets.popleft()
                self.ask(READ, handle, struct.pack(">QI", offset, PIECE))
                waiting.append((self.asked, offset))
            self.take_piece(dict(waiting), pieces)
            waiting = collections.deque(row for row in waiting if row[1] not in pieces)
        self.close(handle)
        return b"".join(pieces[offset] for offset in sorted(pieces))

    def take_piece(self, waiting, pieces):
        packet = self.packet()
        (number,) = struct.unpack_from(">I", packet, 1)
        if packet[0] == DATA:
            pieces[waiting[number]] = read_string(packet, 5)[0]
        elif packet[0] == STATUS and struct.unpack_from(">I", packet, 5)[0] == EOF:
            pieces[waiting[number]] = b""
        else:
            raise AssertionError(f"{packet[:80]!r} instead of data")
