"""A page that says what a test has it say: the pinned paths, behind a real socket."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

from actors.access import access_path
from actors.version import version

TOKEN = "the-token-of-the-test"


class FakePage:
    """Answers by path: a status with a document, or a function that writes what it likes."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.answers: dict[str, tuple[int, Any] | Callable[[Any], None]] = {}
        self.asked: list[tuple[str, str, dict[str, str], dict[str, str], bytes]] = []
        """Method, path, query, headers, body."""
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}{prefix}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        page = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize: ClassVar[int] = 0

            def do_GET(self) -> None:
                self.close_connection = True
                page.answer(self)

            do_POST = do_GET  # noqa: N815 - as the standard library calls it

            def log_message(self, *_args: Any) -> None:
                pass

        return Handler

    def answer(self, handler: Any) -> None:
        parts = urlsplit(handler.path)
        inside = parts.path.startswith(self.prefix + "/")
        path = parts.path.removeprefix(self.prefix) if inside else "/outside"
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        query, headers = dict(parse_qsl(parts.query)), dict(handler.headers.items())
        self.asked.append((handler.command, path, query, headers, body))
        if headers.get("Authorization") != f"Bearer {TOKEN}":
            send(handler, 401, {"error": {"code": "unauthorized", "text": "no"}})
            return
        answer = self.answers.get(path, (404, {"error": {"code": "x", "text": "not there"}}))
        if callable(answer):
            answer(handler)
        else:
            send(handler, *answer)

    def file(self, database: Path, **other: Any) -> Path:
        """Write the access file of a database, as whoever serves this page would."""
        said = {"url": self.url, "token": TOKEN, "pid": os.getpid(), "allow_actions": True, **other}
        path = access_path(database)
        path.touch(0o600)
        path.write_text(json.dumps(said))
        return path


def send(handler: Any, status: int, document: Any) -> None:
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(raw)))
    handler.end_headers()
    handler.wfile.write(raw)


def stream(*pieces: bytes, then: Callable[[], object] | None = None) -> Callable[[Any], None]:
    """An answer in pieces, chunked as a server of streams sends them; ``then`` is the end."""

    def answer(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for piece in pieces:
            handler.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        if then is None:
            handler.wfile.write(b"0\r\n\r\n")
        else:
            then()

    return answer


@contextmanager
def serving(page: FakePage) -> Iterator[FakePage]:
    thread = threading.Thread(target=page.server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield page
    finally:
        page.server.shutdown()
        page.server.server_close()
        thread.join()


FIGURES: dict[str, Any] = {
    "at": "2026-01-01T12:00:00Z",
    "started_at": "2026-01-01T11:58:20Z",
    "live_runtimes": 3,
    "live_runtimes_max": 100_000,
    "set_aside": 0,
    "runs_in_hand": 2,
    "max_concurrent_runs": 64,
    "waiting_for_slot": 0,
    "open_calls": 0,
    "in_flight_max": 100_000,
    "pending_inputs": 7,
    "oldest_at": "2026-01-01T11:59:00Z",
    "accepted": 500,
    "consumed": 400,
    "abandoned": 0,
    "runs": 410,
    "failed_attempts": 0,
    "restarts": 0,
    "journal_restarts": 0,
    "dead_letters": 0,
    "commit_errors": 0,
    "accept_to_durable_s": {"bounds": [0.001, 0.01, 0.1], "counts": [90, 10, 0, 0], "total": 0.1},
    "accept_to_consumed_s": {"bounds": [0.001, 0.01, 0.1], "counts": [0, 50, 48, 2], "total": 9.0},
}


def overview(**other: Any) -> dict[str, Any]:
    """What a page says of itself."""
    return {
        "version": version(),
        "store": "meerkat.db",
        "owner": "this process",
        "live": True,
        "allow_actions": True,
        "verbs": [],
        "figures": FIGURES,
        **other,
    }


def runtime(runtime_id: str, **other: Any) -> dict[str, Any]:
    """What a page says of a runtime."""
    return {
        "runtime_id": runtime_id,
        "state": "idle",
        "registered": True,
        "paused": False,
        "pending_inputs": 1,
        "oldest_at": None,
        "set_aside": None,
        "unreadable": None,
        "run": None,
        **other,
    }
