"""A line with a delay: passes TCP connections on, and every byte waits for half of the delay.

Nothing is lost and nothing bounds its bandwidth, and the kernel's socket buffers do not bound it
either: both of its ends are on loopback. So it shows what a client and a server keep under way.
"""
import collections, socket, threading, time

CHUNK_BYTES = 1 << 20
# More than any window: only a fault would fill it.
QUEUED_BYTES_MAX = 256 << 20


class DelayLine:
    """Listens on a port of its own until it is closed."""

    def __init__(self, target, round_trip_seconds):
        self.target, self.one_way = target, round_trip_seconds / 2
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def close(self):
        # Wakes the thread that accepts.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def accept(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.target))
            for one, other in ((client, server), (server, client)):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                Direction(one, other, self.one_way)


class Direction:
    """What one end sends, on its way to the other."""

    def __init__(self, source, sink, delay):
        self.source, self.sink, self.delay = source, sink, delay
        self.under_way, self.queued = collections.deque(), 0
        self.changed = threading.Condition()
        threading.Thread(target=self.take, daemon=True).start()
        threading.Thread(target=self.deliver, daemon=True).start()

    def take(self):
        while True:
            try:
                data = self.source.recv(CHUNK_BYTES)
            except OSError:
                data = b""
            with self.changed:
                while self.queued > QUEUED_BYTES_MAX:
                    self.changed.wait()
                self.under_way.append((time.monotonic() + self.delay, data))
                self.queued += len(data)
                self.changed.notify_all()
            if not data:
                return

    def deliver(self):
        while True:
            with self.changed:
                while not self.under_way:
                    self.changed.wait()
                due, data = self.under_way.popleft()
                self.queued -= len(data)
                self.changed.notify_all()
            time.sleep(max(0, due - time.monotonic()))
            try:
                if data:
                    self.sink.sendall(data)
                    continue
                self.sink.shutdown(socket.SHUT_WR)
            except OSError:
                # The one that sends hears of it.
                try:
                    self.source.shutdown(socket.SHUT_RD)
                except OSError:
                    pass
            return
