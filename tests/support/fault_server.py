"""A real HTTP server on this machine that does what a test tells it to."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LIMIT = 0.2
"""Timeout, in seconds, of tests that run into it; the others must not, however busy the machine is."""
Act = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Plays the server's acts in turn, the last one again and again."""

    protocol_version = "HTTP/1.1"

    @property
    def play(self) -> Server:
        assert isinstance(self.server, Server)
        return self.server

    def do_POST(self) -> None:
        self.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.play.lock:
            act = self.play.acts[min(len(self.play.seen), len(self.play.acts) - 1)]
            self.play.seen.append((self.path, dict(self.headers), self.body))
        act(self)

    def log_message(self, format: str, *args: object) -> None: ...


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.acts: list[Act] = []
        self.seen: list[tuple[str, dict[str, str], dict]] = []
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address) -> None:
        """A client that has gone is what many tests are about."""


def says(body: object, status: int = 200, **headers: str) -> Act:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    def act(handler: Handler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return act


def hangs(handler: Handler) -> None:
    handler.play.over.wait(10)


def drips(start: bytes, drop: bytes) -> Act:
    """Sends `start`, then `drop` four times per timeout."""

    def act(handler: Handler) -> None:
        handler.wfile.write(start)
        while not handler.play.over.wait(LIMIT / 4):
            handler.wfile.write(drop)

    return act


def resets(handler: Handler) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


HEAD = b"HTTP/1.1 200 OK\r\n"
SLOW = {
    "hangs": hangs,
    "body drips": drips(HEAD + b"Content-Length: 1000\r\n\r\n", b" "),
    "headers drip": drips(HEAD + b"X-Long: ", b"x"),
}


def busy() -> list[Act]:
    """Asks to be left alone: for 0 s, 1 s, a day, until a minute ago, until 30 s from now."""
    past, future = (format_datetime(datetime.now(UTC) + timedelta(seconds=s), usegmt=True) for s in (-60, 30))
    return [says({}, 429, Retry_After=value) for value in ("0", "1", "86400", past, future)]


@contextmanager
def serving(port: int = 0) -> Iterator[Server]:
    """`port`: 0 is any that is free."""
    with Server(port) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join(5)
