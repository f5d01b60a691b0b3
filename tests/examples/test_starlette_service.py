"""The service in an event loop, driven over the network as its clients would."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import starlette_service
import uvicorn

from actors.aio import AsyncControlPlane

WAIT_S = 10.0

Serve = Callable[[], AbstractContextManager[httpx.Client]]
"""Starts the service over the test's own database, with a client for it."""


class Server(uvicorn.Server):
    """A server that says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listens = threading.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.listens.set()

    @property
    def url(self) -> str:
        host, port = self.servers[0].sockets[0].getsockname()
        return f"http://{host}:{port}"


@pytest.fixture
def planes(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The planes of the services, the last one the present one's."""
    found: list[Any] = []

    class Noted(AsyncControlPlane):
        def __init__(self, *parts: Any, **settings: Any) -> None:
            super().__init__(*parts, **settings)
            found.append(self)

    monkeypatch.setattr(starlette_service, "AsyncControlPlane", Noted)
    return found


@pytest.fixture(params=["asyncio", "uvloop"])
def serve(request: pytest.FixtureRequest, tmp_path: Path, planes: list[Any]) -> Serve:
    @contextmanager
    def start() -> Iterator[httpx.Client]:
        app = starlette_service.service(tmp_path / "sessions.db")
        config = uvicorn.Config(
            app, port=0, loop=request.param, log_level="critical", timeout_graceful_shutdown=1
        )
        server = Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            assert server.listens.wait(WAIT_S)
            with httpx.Client(base_url=server.url, timeout=WAIT_S) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join(2 * WAIT_S)
            assert not thread.is_alive()

    return start


def post(client: httpx.Client, text: str, key: str | None = None) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return client.post("/sessions/bag/messages", json={"text": text}, headers=headers)


class Events:
    """A stream of events as a browser reads it."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.iter_lines()
        assert next(self._lines) == ": connected"
        self.last: str | None = None

    def next(self) -> dict[str, str]:
        event: dict[str, str] = {}
        for line in self._lines:
            if not line and event:
                self.last = event["id"]
                return event
            if line and not line.startswith(":"):
                name, _, value = line.partition(": ")
                event[name] = value
        raise AssertionError("the stream has ended")

    def until(self, code: str) -> list[dict[str, str]]:
        found = [self.next()]
        while found[-1]["event"] != code:
            found.append(self.next())
        return found


@contextmanager
def events(client: httpx.Client, last: str | None = None) -> Iterator[Events]:
    headers = {} if last is None else {"Last-Event-ID": last}
    with client.stream("GET", "/sessions/bag/events", headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Events(response)


def numbers(found: list[dict[str, str]]) -> list[int]:
    return [int(each["id"]) for each in found]


def test_a_message_is_taken_and_what_becomes_of_it_is_streamed(serve: Serve) -> None:
    with serve() as client, events(client) as stream:
        answer = post(client, "Where is it?")
        assert answer.status_code == 202
        told = stream.until("run.completed")
        assert told[0]["event"] == "input.accepted"
        assert answer.json()["input_id"] in told[0]["data"]
        assert numbers(told) == list(range(numbers(told)[0], numbers(told)[0] + len(told)))


def test_a_message_that_is_sent_again_is_known_by_its_key(serve: Serve) -> None:
    with serve() as client:
        answers = {post(client, "Where?", key="k").json()["input_id"] for _ in range(3)}
        other = post(client, "Where?", key="other").json()["input_id"]
        assert len(answers | {other}) == 2


def test_a_client_that_was_cut_off_goes_on_where_it_was(serve: Serve) -> None:
    with serve() as client:
        with events(client) as stream:
            post(client, "first")
            before = stream.until("input.staged")
        post(client, "second")  # nobody listens
        with events(client, stream.last) as stream:
            after = stream.until("run.completed")
            after += stream.until("run.completed")
        seen = numbers(before + after)
        assert seen == list(range(seen[0], seen[0] + len(seen)))


def test_a_restart_in_between_is_told_as_a_gap_and_nothing_runs_twice(serve: Serve) -> None:
    with serve() as client, events(client) as stream:
        post(client, "first", key="1")
        stream.until("run.completed")
    with serve() as client, events(client, stream.last) as stream:
        gap = stream.next()
        assert gap["event"] == "gap"
        post(client, "first", key="1")
        post(client, "second", key="2")
        told = stream.until("run.completed")
        assert int(gap["id"]) < numbers(told)[0]
        codes = [each["event"] for each in told]
        assert codes.count("run.started") == 1
        assert "input.deduplicated" in codes


def test_clients_that_go_away_in_mid_stream_leave_nothing(serve: Serve, planes: list[Any]) -> None:
    with serve() as client:
        hub = planes[-1]._plane._life.system.events
        for _ in range(5):
            with events(client) as stream:
                post(client, "hello")
                stream.next()
        until = time.monotonic() + WAIT_S
        while hub._subscribers and time.monotonic() < until:
            post(client, "and")
        assert not hub._subscribers


def test_a_service_stops_though_somebody_listens(serve: Serve) -> None:
    with serve() as client:
        client.stream("GET", "/sessions/bag/events").__enter__()
        post(client, "hello")


def test_who_is_silent_for_long_hears_that_the_service_is_there(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starlette_service, "KEEP_ALIVE_S", 0.01)
    with serve() as client, client.stream("GET", "/sessions/bag/events") as response:
        lines = (line for line in response.iter_lines() if line)
        assert [next(lines) for _ in range(3)] == [": connected", ": still here", ": still here"]


@pytest.mark.parametrize(
    ("call", "status", "text"),
    [
        (lambda client: client.post("/sessions/bag/messages", content=b"{"), 400, "the body is"),
        (lambda client: client.post("/sessions/bag/messages", json=[]), 400, "the body is"),
        (
            lambda client: client.post("/sessions/bag/messages", content=b'{"text": "\\ud800"}'),
            422,
            "input_validation_failed",
        ),
        (lambda client: post(client, "x" * 2_000_000), 422, "input_validation_failed"),
        (
            lambda client: client.get("/sessions/bag/events", headers={"Last-Event-ID": "x"}),
            400,
            "Last-Event-ID",
        ),
        (lambda client: client.get("/sessions/bag/messages"), 405, ""),
    ],
)
def test_what_cannot_be_done_is_said_in_http(
    serve: Serve, call: Callable[[httpx.Client], httpx.Response], status: int, text: str
) -> None:
    with serve() as client:
        answer = call(client)
        assert answer.status_code == status
        assert text in answer.text
