"""The service on threads, driven over the network as its clients would."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import httpx
import pytest
import wsgi_service

from actors import ControlPlane
from meerkat.store import MemoryStore, SqliteStore

WAIT_S = 10.0

Serve = Callable[[], AbstractContextManager[httpx.Client]]
"""Starts the service over the test's own database, with a client for it."""


class Silent(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    @contextmanager
    def start() -> Iterator[httpx.Client]:
        with (
            ControlPlane(SqliteStore(tmp_path / "sessions.db"), wsgi_service.agent) as plane,
            make_server(
                "127.0.0.1",
                0,
                wsgi_service.service(plane),
                server_class=wsgi_service.ThreadingServer,
                handler_class=Silent,
            ) as server,
        ):
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            url = f"http://127.0.0.1:{server.server_port}"
            try:
                with httpx.Client(base_url=url, timeout=2 * WAIT_S) as client:
                    yield client
            finally:
                server.shutdown()
                thread.join(WAIT_S)

    return start


def post(client: httpx.Client, text: str, key: str | None = None) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return client.post("/sessions/bag/messages", json={"text": text}, headers=headers)


def events(client: httpx.Client, last: int | None = 0) -> list[dict[str, Any]]:
    headers = {} if last is None else {"Last-Event-ID": str(last)}
    answer = client.get("/sessions/bag/events", headers=headers)
    assert answer.status_code == 200
    found: list[dict[str, Any]] = answer.json()
    return found


def events_until(client: httpx.Client, code: str, last: int = 0) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while not any(code in str(each["data"]) for each in found):
        found += events(client, found[-1]["id"] if found else last)
    return found


def test_a_message_is_taken_and_what_became_of_it_is_told(serve: Serve) -> None:
    with serve() as client:
        answer = post(client, "Where is it?")
        assert answer.status_code == 202
        found = events_until(client, "run.completed")
        assert answer.json()["input_id"] in str(found)


def test_many_clients_are_served_side_by_side(serve: Serve) -> None:
    with serve() as client, ThreadPoolExecutor(8) as threads:
        waiting = threads.submit(events, client, None)
        answers = list(threads.map(lambda n: post(client, "hello", key=f"{n % 4}"), range(16)))
        assert {each.status_code for each in answers} == {202}
        assert len({each.json()["input_id"] for each in answers}) == 4
        while not waiting.done():
            post(client, "more")
        assert waiting.result()


def test_a_restart_in_between_is_told_as_a_gap_and_nothing_runs_twice(serve: Serve) -> None:
    with serve() as client:
        post(client, "first", key="1")
        last = events_until(client, "run.completed")[-1]["id"]
    with serve() as client:
        post(client, "first", key="1")
        found = events(client, last)
        assert found[0]["gap"]
        post(client, "second", key="2")
        told = str(found + events_until(client, "run.completed", found[-1]["id"]))
        assert told.count("run.started") == 1


@pytest.mark.parametrize(
    ("call", "status", "text"),
    [
        (lambda client: client.post("/sessions/bag/messages", content=b"{"), 400, "the body is"),
        (lambda client: client.post("/sessions/bag/messages", json=[]), 400, "the body is"),
        (
            lambda client: client.get("/sessions/bag/events", headers={"Last-Event-ID": "x"}),
            400,
            "Last-Event-ID",
        ),
        (
            lambda client: client.post("/sessions/bag/messages", content=b'{"text": "\\ud800"}'),
            422,
            "input_validation_failed",
        ),
        (lambda client: client.get("/sessions/bag/messages"), 404, ""),
        (lambda client: client.get("/elsewhere"), 404, ""),
    ],
)
def test_what_cannot_be_done_is_said_in_http(
    serve: Serve, call: Callable[[httpx.Client], httpx.Response], status: int, text: str
) -> None:
    with serve() as client:
        answer = call(client)
        assert answer.status_code == status
        assert text in answer.text


def test_a_body_that_is_too_long_is_not_read() -> None:
    said: list[str] = []
    app = wsgi_service.service(ControlPlane(MemoryStore()))
    request = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/sessions/bag/messages",
        "CONTENT_LENGTH": "2000000",
        "wsgi.input": None,
    }
    assert b"too long" in b"".join(app(request, lambda status, *_: said.append(status)))
    assert said[0].startswith("413 ")
