"""The channel to the process that has a database: the file that tells of it, and its page."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_page import TOKEN, FakePage, send, serving, stream

from actors.access import Access
from actors.cli import owner
from actors.cli.owner import OwnerGone, OwnerPage, OwnerUnsure, page_of
from actors.cli.sent_events import SentEvent, sent_events
from actors.cli.status import ExitStatus, NotFoundError, OwnerError


@pytest.fixture
def fake() -> Iterator[FakePage]:
    with serving(FakePage(prefix="/ops")) as page:
        yield page


@pytest.fixture
def page(fake: FakePage) -> OwnerPage:
    return OwnerPage(Access(url=fake.url, token=TOKEN, pid=7, allow_actions=True))


# --- the file ---------------------------------------------------------------------------


def test_the_page_of_a_database_is_the_one_that_its_file_names(
    fake: FakePage, tmp_path: Path
) -> None:
    assert page_of(tmp_path / "a.db") is None
    fake.file(tmp_path / "a.db", url=f"{fake.url}/")
    fake.answers["/api/overview"] = 200, {"live": True}
    found = page_of(tmp_path / "a.db")
    assert found is not None
    assert found.read("/api/overview") == {"live": True}


def test_a_file_that_others_may_touch_is_not_used(fake: FakePage, tmp_path: Path) -> None:
    fake.file(tmp_path / "a.db").chmod(0o660)
    with pytest.raises(OwnerError, match="may be read or written by others"):
        page_of(tmp_path / "a.db")
    assert fake.asked == []


def test_a_file_that_its_process_has_left_is_told(fake: FakePage, tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    path = fake.file(tmp_path / "a.db", pid=ended.pid)
    with pytest.raises(OwnerGone, match=f"{path} is left over from a process that has ended"):
        page_of(tmp_path / "a.db")


# --- the lines of a stream --------------------------------------------------------------


def test_the_events_of_a_stream() -> None:
    lines = [
        *(": still there", "event: event", "id: 4", "data: one", "data:two", ""),
        *("data", "id", "retry: 3", "nonsense", ""),
        *("event: says nothing", ""),
        *("", "id: a\0b", "data:x", ""),
        *("event: event", "data: cut off"),
    ]
    assert list(sent_events(lines)) == [
        SentEvent(kind="event", data="one\ntwo", id="4"),
        SentEvent(kind="message", data="", id=None),
        SentEvent(kind="message", data="x", id=None),
    ]


# --- the page ---------------------------------------------------------------------------


def test_reading_sends_the_token_and_the_question(fake: FakePage, page: OwnerPage) -> None:
    fake.answers["/api/runtime"] = 200, {"runtime_id": "a/b&c=d ü"}
    assert page.read("/api/runtime", id="a/b&c=d ü", after=None) == {"runtime_id": "a/b&c=d ü"}
    method, path, query, headers, body = fake.asked[0]
    assert (method, path, query, body) == ("GET", "/api/runtime", {"id": "a/b&c=d ü"}, b"")
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert TOKEN not in str(query)


def test_an_action_is_a_post(fake: FakePage, page: OwnerPage) -> None:
    fake.answers["/api/act"] = 200, {"inputs_abandoned": 2}
    assert page.act("a", "redrive", {"input_ids": ["x"], "causes": None}) == {"inputs_abandoned": 2}
    method, _, _, headers, body = fake.asked[0]
    assert (method, headers["Content-Type"]) == ("POST", "application/json")
    assert json.loads(body) == {"id": "a", "verb": "redrive", "input_ids": ["x"]}
    page.act("a", "stop")
    assert json.loads(fake.asked[1][4]) == {"id": "a", "verb": "stop"}


@pytest.mark.parametrize(
    ("status", "kind", "ends", "says"),
    [
        (400, OwnerError, ExitStatus.TROUBLE, "^because$"),
        (401, OwnerError, ExitStatus.STORE, "process 7 does not know the token"),
        (403, OwnerError, ExitStatus.STORE, "process 7 refuses it: because"),
        (404, NotFoundError, None, "^because$"),
        (409, OwnerError, ExitStatus.TROUBLE, "^because$"),
        (429, OwnerError, ExitStatus.TROUBLE, "process 7 has too much in hand: because"),
        (503, OwnerError, ExitStatus.STORE, "process 7 cannot do it now: because"),
        (500, OwnerError, ExitStatus.STORE, "process 7 answers 500: because"),
        (302, OwnerError, ExitStatus.STORE, "answers 302"),
    ],
)
def test_a_refusal_is_told_in_words(  # noqa: PLR0917 - the columns of the table
    fake: FakePage,
    page: OwnerPage,
    status: int,
    kind: type[Exception],
    ends: ExitStatus | None,
    says: str,
) -> None:
    fake.answers["/api/act"] = status, {"error": {"code": "some_code", "text": "because"}}
    with pytest.raises(kind, match=says) as told:
        page.act("a", "stop")
    assert getattr(told.value, "status", None) is ends


@pytest.mark.parametrize(
    ("status", "raw"), [(200, b"<html>"), (200, b"[1]"), (404, b"not here"), (403, b'{"error": 1}')]
)
def test_another_server_at_that_address_is_told(
    fake: FakePage, page: OwnerPage, status: int, raw: bytes
) -> None:
    fake.answers["/api/overview"] = status, raw
    with pytest.raises(OwnerError, match="that is no page of meerkat"):
        page.read("/api/overview")


def test_nobody_there(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    page = OwnerPage(Access(url=url, token=TOKEN, pid=7, allow_actions=True))
    for call in (
        lambda: page.read("/x"),
        lambda: page.act("a", "stop"),
        lambda: list(page.events("/e")),
    ):
        with pytest.raises(OwnerGone, match=f"nobody answers at {url}"):
            call()


def test_an_answer_that_does_not_come(
    fake: FakePage, page: OwnerPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ANSWER_S", "ACT_S", "QUIET_S"):
        monkeypatch.setattr(owner, name, 0.05)
    silent = socket.create_server(("127.0.0.1", 0))
    page._port, page._host = silent.getsockname()[1], "127.0.0.1"
    with pytest.raises(OwnerGone, match="process 7 does not answer"):
        page.read("/api/overview")
    with pytest.raises(OwnerGone, match="process 7 does not answer"):
        list(page.events("/api/events"))
    with pytest.raises(OwnerUnsure, match="whether it is done is not known"):
        page.act("a", "stop")
    silent.close()


def test_an_answer_that_is_cut_off(fake: FakePage, page: OwnerPage) -> None:
    def cut(handler: Any) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")

    fake.answers["/api/act"] = fake.answers["/api/overview"] = cut
    with pytest.raises(OwnerUnsure):
        page.act("a", "stop")
    with pytest.raises(OwnerGone):
        page.read("/api/overview")


# --- streams ----------------------------------------------------------------------------


def test_a_stream_gives_each_event_as_it_comes(fake: FakePage, page: OwnerPage) -> None:
    more = threading.Event()
    fake.answers["/api/events"] = stream(
        b"id: 1\nevent: ev", b"ent\ndata: {}\n\n: alive\n", then=lambda: more.wait(30)
    )
    events = page.events("/api/events", "7", id="a")
    assert next(events) == SentEvent(kind="event", data="{}", id="1")
    _, _, query, headers, _ = fake.asked[0]
    assert (query, headers["Last-Event-ID"]) == ({"id": "a"}, "7")
    more.set()
    with pytest.raises(OwnerGone):
        next(events)


def test_a_stream_that_ends_in_order(fake: FakePage, page: OwnerPage) -> None:
    fake.answers["/api/events"] = stream(b"event: end\ndata:\n\n")
    events = page.events("/api/events")
    assert next(events).kind == "end"
    with pytest.raises(OwnerGone, match="ended the connection"):
        next(events)


def test_a_stream_that_is_refused(fake: FakePage, page: OwnerPage) -> None:
    fake.answers["/api/events"] = lambda handler: send(
        handler, 429, {"error": {"code": "x", "text": "200 streams"}}
    )
    with pytest.raises(OwnerError, match="200 streams"):
        next(page.events("/api/events"))
