"""Serving: where the page is, who is told, what is bounded, and that nothing is left."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import threading
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from unittest.mock import Mock

import httpx
import pytest
import uvicorn
from page_builders import WAIT_S, planted
from uvicorn.server import ServerState

from actors import ControlPlane
from actors.access import Access, access_path, access_to
from actors.aio import AsyncControlPlane
from actors.dashboard import Served, serve, serving
from meerkat.errors import ControlPlaneStopped
from meerkat.store import SqliteStore


@pytest.fixture
def plane(path: Path) -> Iterator[ControlPlane]:
    with planted(SqliteStore(path)) as plane:
        yield plane


def client_of(served: Served, token: str | None = None) -> httpx.Client:
    headers = {"authorization": f"Bearer {token or served.token}"}
    return httpx.Client(base_url=served.url, headers=headers, timeout=WAIT_S)


def test_the_page_is_there_while_the_block_lasts(plane: ControlPlane) -> None:
    with serve(plane) as served:
        with client_of(served) as client:
            assert client.get("api/overview").json()["live"] is True
            assert client.get("api/overview", headers={"authorization": ""}).status_code == 401
        assert httpx.get(served.url_with_token, timeout=WAIT_S).status_code == 303
        assert served.token not in repr(served)
    with pytest.raises(httpx.ConnectError):
        httpx.get(served.url, timeout=WAIT_S)
    assert plane.figures().accepted == 4  # which goes on


def test_nothing_is_left_running(plane: ControlPlane) -> None:
    before = set(threading.enumerate())
    with serve(plane) as served, client_of(served) as client:
        client.get("api/runtimes")
        assert any(each.name == "meerkat-page" for each in threading.enumerate())
    left = [each for each in threading.enumerate() if each not in before]
    for thread in left:
        thread.join(WAIT_S)
    assert not any(each.is_alive() for each in left)


def test_a_forked_child_leaves_the_block_and_the_page_stays(
    plane: ControlPlane, path: Path
) -> None:
    with ExitStack() as page:
        served = page.enter_context(serve(plane))
        child = os.fork()
        if child == 0:
            try:
                page.close()
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        assert access_path(path).exists()
        with client_of(served) as client:
            assert client.get("api/overview").status_code == 200


def test_an_open_stream_does_not_hold_up_the_end(plane: ControlPlane) -> None:
    with ExitStack() as page:
        served = page.enter_context(serve(plane))
        with (
            client_of(served) as client,
            client.stream("GET", "api/events", params={"id": "a"}) as answer,
        ):
            lines = answer.iter_lines()
            assert next(lines) == ":"
            page.close()
            assert "event: end" in list(lines)


def test_a_plane_that_stops_first_ends_its_streams_and_the_page_says_so(
    plane: ControlPlane,
) -> None:
    with serve(plane) as served, client_of(served) as client:
        with client.stream("GET", "api/events") as answer:
            lines = answer.iter_lines()
            next(lines)
            plane.stop()
            assert "event: end" in list(lines)
        assert client.get("api/runtimes").status_code == 503


def test_a_host_beyond_this_machine_is_asked_for_in_words(plane: ControlPlane) -> None:
    for host in ("0.0.0.0", "::", "example.com", "192.0.2.1"):
        with pytest.raises(ValueError, match="beyond this machine"), serve(plane, host=host):
            pytest.fail("it is served")
    with serve(plane, host="0.0.0.0", hosts=["ops.example"]) as served:
        assert served.url.startswith("http://127.0.0.1:")
        with client_of(served) as client:
            for name, status in (("ops.example", 200), ("evil.example", 403)):
                assert client.get("api/overview", headers={"host": name}).status_code == status


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.0.0.2", "::1"])
def test_the_names_of_this_machine_need_no_words(plane: ControlPlane, host: str) -> None:
    with serve(plane, host=host) as served, client_of(served) as client:
        assert client.get("api/overview").status_code == 200


def test_a_port_that_is_taken_is_said_and_nothing_is_left(plane: ControlPlane, path: Path) -> None:
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as taken,
        pytest.raises(OSError, match="in use"),
        serve(plane, port=taken.getsockname()[1]),
    ):
        pytest.fail("it is served")
    assert not access_path(path).exists()


def test_a_plane_that_does_not_run_is_not_served(path: Path) -> None:
    with pytest.raises(ControlPlaneStopped), serve(ControlPlane(SqliteStore(path))):
        pytest.fail("it is served")


def test_a_coroutine_plane_and_a_store_are_served_too(plane: ControlPlane, path: Path) -> None:
    coroutines = asyncio.run(AsyncControlPlane.wrap(plane))
    with serve(coroutines) as served, client_of(served) as client:
        assert client.get("api/overview").json()["live"] is True
        assert access_path(path).exists()
    with serve(SqliteStore(path)) as served, client_of(served) as client:
        assert len(client.get("api/runtimes").json()["runtimes"]) == 2
    assert not access_path(path).exists()


# --- the access file --------------------------------------------------------------------


def test_the_file_beside_the_database_says_where_the_page_is(
    plane: ControlPlane, path: Path
) -> None:
    before = os.umask(0)
    try:
        with serve(plane, allow_actions=True) as served:
            file = access_path(path)
            assert file.name == "sessions.db-page"
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            wanted = Access(url=served.url, token=served.token, pid=os.getpid(), allow_actions=True)
            assert access_to(path) == wanted
            assert json.loads(file.read_bytes()).keys() == {"url", "token", "pid", "allow_actions"}
            assert served.token not in repr(wanted)
        assert not file.exists()
    finally:
        os.umask(before)
    assert [each.name for each in path.parent.glob("*-page*")] == []


def test_what_a_killed_process_has_left_is_replaced(plane: ControlPlane, path: Path) -> None:
    access_path(path).write_text("{")
    access_path(path).with_name(f"sessions.db-page.{os.getpid()}").write_text("half")
    with serve(plane) as served:
        access = access_to(path)
        assert access is not None
        assert access.url == served.url
    assert [each.name for each in path.parent.glob("*-page*")] == []


def test_a_link_that_stands_in_its_place_is_not_followed(plane: ControlPlane, path: Path) -> None:
    elsewhere = path.with_name("elsewhere")
    elsewhere.write_text("mine")
    access_path(path).symlink_to(elsewhere)
    with serve(plane):
        assert not access_path(path).is_symlink()
    assert elsewhere.read_text() == "mine"


def test_of_two_pages_the_later_one_is_found_and_the_earlier_takes_nothing_away(
    plane: ControlPlane, path: Path
) -> None:
    with serve(plane) as later_ends, serve(plane) as found:
        access = access_to(path)
        assert access is not None
        assert access.url == found.url != later_ends.url
    assert not access_path(path).exists()
    first = serve(plane)
    first.__enter__()
    with serve(plane) as second:
        first.__exit__(None, None, None)
        access = access_to(path)
        assert access is not None
        assert access.url == second.url


# --- what is bounded --------------------------------------------------------------------


def connected(served: Served) -> socket.socket:
    url = httpx.URL(served.url)
    return socket.create_connection((url.host, url.port), timeout=WAIT_S)


def cut_off(sent: bytes, slow: socket.socket) -> bool:
    """Is the connection ended? It may be before all is sent."""
    try:
        slow.sendall(sent)
        return slow.recv(1) == b""
    except ConnectionError:
        return True


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: loc"], ids=repr)
def test_a_request_that_does_not_begin_or_go_on_is_cut_off(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(serving, "HEAD_S", 0.05)
    with serve(plane) as served, connected(served) as slow:
        assert cut_off(sent, slow)


def test_a_later_request_of_a_connection_is_hurried_too(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(plane) as served, connected(served) as slow:
        for _ in range(2):
            slow.sendall(b"GET /none HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = b""
            while b"unauthorized" not in answer:
                answer += slow.recv(10_000)
            monkeypatch.setattr(serving, "HEAD_S", 0.05)  # from the next answer on
        assert cut_off(b"GET /none HTT", slow)


class Loop:
    """An event loop on which no time passes and nothing is done."""

    def __init__(self) -> None:
        self.due: list[Mock] = []

    def call_later(self, _delay_s: float, _call: object) -> Mock:
        timer = Mock()
        timer.cancel.side_effect = lambda: self.due.remove(timer)
        self.due.append(timer)
        return timer

    def create_task(self, coroutine: Coroutine[object, object, None]) -> Mock:
        coroutine.close()
        return Mock()


def test_once_its_head_has_come_a_request_is_hurried_no_more() -> None:
    loop, transport = Loop(), Mock()
    transport.get_extra_info.return_value = None
    transport.is_closing.return_value = False
    config = uvicorn.Config(Mock(), log_config=None)
    protocol = serving._Hurried(config, ServerState(), {}, _loop=loop)  # type: ignore[arg-type]
    protocol.connection_made(transport)
    for part in (b"GET / HTTP/1.1\r\n", b"Host: localhost\r\n"):
        protocol.data_received(part)
        assert len(loop.due) == 1  # and that one is not put off
    first = loop.due[0]
    protocol.data_received(b"x: y\r\n")
    assert loop.due == [first]
    protocol.data_received(b"\r\n")
    assert loop.due == []  # an answer may take as long as it likes: it is a stream, say
    protocol.cycle.response_complete = True
    protocol.data_received(b"GET")
    assert len(loop.due) == 1
    protocol.connection_lost(None)
    assert loop.due == []


def test_a_head_has_a_longest(plane: ControlPlane) -> None:
    with serve(plane) as served, connected(served) as endless:
        endless.sendall(b"GET / HTTP/1.1\r\nx-long: " + b"l" * 2 * serving.HEAD_BYTES_MAX)
        assert endless.recv(12) == b"HTTP/1.1 400"
