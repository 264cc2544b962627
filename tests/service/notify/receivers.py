"""Real receivers of notices on loopback: HTTP and SMTP."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Letterbox:
    """What a receiver got, and how it answers."""

    url: str
    got: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Path and JSON of each request that was answered with 200."""
    refused: int = 0
    status: int = 200
    asked: threading.Event = field(default_factory=threading.Event)
    """Set when a request has come."""
    hold: threading.Event = field(default_factory=threading.Event)
    """Cleared, it does not answer; set at first."""

    def __post_init__(self) -> None:
        self.hold.set()

    @property
    def posts(self) -> list[dict[str, Any]]:
        return [body for _, body in self.got]


def _handler(box: Letterbox) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            box.asked.set()
            box.hold.wait(60)
            if box.status == 200:
                box.got.append((self.path, json.loads(body)))
            else:
                box.refused += 1
            self.send_response(box.status)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_args: Any) -> None:
            pass

    return Handler


@contextmanager
def http_receiver(port: int = 0) -> Iterator[Letterbox]:
    """An HTTP server that takes JSON."""
    box = Letterbox("")
    server = ThreadingHTTPServer(("127.0.0.1", port), _handler(box))
    box.url = f"http://127.0.0.1:{server.server_address[1]}"
    with _served(server):
        yield box


@contextmanager
def _served(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def nobody() -> Iterator[int]:
    """A port that refuses every connection, and that nothing else is given meanwhile."""
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", 0))
        yield int(bound.getsockname()[1])


class _Smtp(socketserver.StreamRequestHandler):
    """As much of SMTP as a client needs to leave a letter."""

    def handle(self) -> None:
        self._say("220 localhost")
        while line := self.rfile.readline():
            word = line.split(maxsplit=1)[0].upper() if line.split() else b""
            if word == b"DATA":
                self._say("354 go on")
                text = b""
                while (part := self.rfile.readline()) not in (b".\r\n", b""):
                    text += part[1:] if part.startswith(b"..") else part
                self.server.letters.append(message_from_bytes(text))  # type: ignore[attr-defined]  # set below
            if word == b"QUIT":
                self._say("221 bye")
                return
            self._say("250 ok")

    def _say(self, text: str) -> None:
        self.wfile.write(text.encode() + b"\r\n")


@contextmanager
def smtp_receiver() -> Iterator[tuple[str, list[Message]]]:
    """An SMTP server: its host and port, and the letters that it got."""
    letters: list[Message] = []
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Smtp)
    server.daemon_threads = True
    server.letters = letters  # type: ignore[attr-defined]  # for the handler
    with _served(server):
        yield f"127.0.0.1:{server.server_address[1]}", letters
