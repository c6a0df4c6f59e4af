"""A TCP line to a server, which tests can cut."""

from __future__ import annotations

import socket
import threading
from urllib.parse import urlsplit


class Line:
    """Forwards a port of this machine to `url`'s host and port. While it is cut, connections are refused and those that
    stood are reset."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.target = (parts.hostname, parts.port)
        self.open: list[socket.socket] = []
        self.lock = threading.Lock()
        self.listener = self._listen(0)
        self.port: int = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}{parts.path}"

    def cut(self) -> None:
        # Shut down first: a close alone does not wake the thread that accepts.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            for end in self.open:
                end.close()
            self.open.clear()

    def restore(self) -> None:
        self.listener = self._listen(self.port)

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                here, _ = listener.accept()
                there = socket.create_connection(self.target)
            except OSError:
                return
            with self.lock:
                self.open += [here, there]
            for source, sink in ((here, there), (there, here)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return
