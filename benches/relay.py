"""An SMTP server that keeps who got which mail, for measurements that look at each of them."""

import asyncio
import collections
import re
import threading
import time


class Relay:
    """An SMTP server that keeps who got which mail, and when, and answers each; it knows PIPELINING."""

    def __init__(self, bench):
        self.mails, self.arrivals = collections.defaultdict(list), []
        self.loop = asyncio.new_event_loop()
        server = self.loop.run_until_complete(self.loop.create_server(lambda: Dialogue(self.take), "127.0.0.1", 0))
        self.port, self.count = server.sockets[0].getsockname()[1], 0
        thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        thread.start()
        bench.undo.callback(thread.join)
        bench.undo.callback(self.loop.call_soon_threadsafe, self.loop.stop)

    def take(self, recipient, message):
        self.arrivals.append((time.monotonic(), recipient))
        head = message.partition(b"\r\n\r\n")[0]
        self.mails[recipient].append(re.search(rb"(?im)^message-id:\s*(\S+)", head)[1].decode())
        self.count += 1


class Lateness:
    """How late a relay's own loop is at most: by so much an arrival may be noted too late."""

    def __init__(self, relay):
        self.loop, self.most = relay.loop, 0
        self.loop.call_soon_threadsafe(self.tick, time.monotonic())

    def tick(self, due):
        now = time.monotonic()
        self.most = max(self.most, now - due)
        self.loop.call_later(0.01, self.tick, now + 0.01)


class Dialogue(asyncio.Protocol):
    """One connection to a `Relay`."""

    def __init__(self, take):
        self.take, self.buffer, self.is_message, self.recipient = take, bytearray(), False, None

    def connection_made(self, transport):
        self.transport = transport
        transport.write(b"220 relay.test\r\n")

    def data_received(self, data):
        self.buffer += data
        end = b"\r\n.\r\n" if self.is_message else b"\r\n"
        while (at := self.buffer.find(end)) >= 0:
            text = bytes(self.buffer[:at])
            del self.buffer[: at + len(end)]
            self.transport.write(self.answer(text))
            end = b"\r\n.\r\n" if self.is_message else b"\r\n"

    def answer(self, text):
        if self.is_message:
            self.is_message = False
            self.take(self.recipient, text)
            return b"250 2.0.0 Ok: taken\r\n"
        verb = text[:4].upper()
        if verb == b"EHLO":
            return b"250-relay.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n"
        if verb == b"RCPT":
            self.recipient = re.search(rb"<(.*?)>", text)[1].decode()
        if verb == b"DATA":
            self.is_message = True
            return b"354 Go on\r\n"
        if verb == b"QUIT":
            self.transport.close()
            return b""
        return b"250 2.0.0 Ok\r\n"
