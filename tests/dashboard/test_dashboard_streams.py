"""Streams: told in order and to the end, few resources held, and nobody left behind."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from page_builders import (
    CANARY,
    TOKEN,
    WAIT_S,
    Asking,
    answered,
    scope_of,
    with_token,
)
from starlette.types import Message

from actors import ControlPlane
from actors.dashboard import Dashboard
from actors.dashboard import streams as streams_module
from actors.dashboard.streams import STREAMS_MAX
from meerkat import PromptInput, RuntimeEventEnvelope
from meerkat.events import ProjectionEvent
from meerkat.limits import Limits
from meerkat.store import MemoryStore


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


class Reading:
    """One reader of a stream, as its server sees it."""

    def __init__(self, page: Dashboard, asking: Asking) -> None:
        self._pieces: asyncio.Queue[Message] = asyncio.Queue()
        self._gone = asyncio.Event()
        self._reads = asyncio.Event()
        self._reads.set()
        self.task = asyncio.ensure_future(page(scope_of(asking), self._receive, self._send))
        self._text = ""

    async def _receive(self) -> Message:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        await self._reads.wait()
        self._pieces.put_nowait(message)

    def stall(self) -> None:
        """Read nothing for now."""
        self._reads.clear()

    def go_on(self) -> None:
        self._reads.set()

    async def started(self) -> int:
        """The status, once there is one."""
        status: int = (await self._next())["status"]
        return status

    async def event(self) -> dict[str, str]:
        """The next event with its fields, signs of life left out."""
        while True:
            while "\n\n" not in self._text:
                message = await self._next()
                self._text += message.get("body", b"").decode()
                if not message.get("more_body") and "\n\n" not in self._text:
                    raise EOFError
            block, _, self._text = self._text.partition("\n\n")
            lines = [line for line in block.splitlines() if not line.startswith(":")]
            if lines:
                return dict(line.split(": ", 1) for line in lines)

    async def until(self, *codes: str) -> list[dict[str, Any]]:
        """The events up to one of these codes, or kinds, with what they carry."""
        found = []
        while True:
            told = await self.event()
            found.append(
                {"kind": told["event"], "place": told.get("id"), **json.loads(told["data"])}
            )
            if {told["event"], code_of(found[-1])} & set(codes):
                return found

    async def leave(self) -> None:
        """Go away, and see that nobody waits for this one any more."""
        self._gone.set()
        async with asyncio.timeout(WAIT_S):
            await self.task

    async def _next(self) -> Message:
        async with asyncio.timeout(WAIT_S):
            return await self._pieces.get()


def code_of(told: dict[str, Any]) -> str | None:
    code: str | None = told.get("event", {}).get("data", {}).get("code")
    return code


@asynccontextmanager
async def reading(
    page: Dashboard, path: str = "/api/events", query: str = "", *more: tuple[str, str]
) -> AsyncIterator[Reading]:
    """A reader that has been let in."""
    reader = Reading(page, Asking(path, query=query, headers=with_token(*more)))
    try:
        assert await reader.started() == 200
        yield reader
    finally:
        await reader.leave()


def on_a_loop(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(6 * WAIT_S):
            await main()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(whole())


async def worked(plane: ControlPlane, text: str = "more") -> None:
    """One more input of *a* has been offered and has ended."""
    completion = plane.submit("a", PromptInput(text)).completion
    await asyncio.to_thread(completion.result, WAIT_S)


def subscribers(plane: ControlPlane) -> int:
    return sum(len(each) for each in plane._life.system.events._subscribers.values())


# --- what is told -----------------------------------------------------------------------


def test_what_happens_to_a_runtime_is_told_in_its_order(
    page: Dashboard, plane: ControlPlane
) -> None:
    async def main() -> None:
        async with reading(page, "/api/events", "id=a") as reader:
            await worked(plane)
            told = await reader.until("run.completed")
            assert code_of(told[0]) == "input.accepted"
            numbers = [int(each["place"]) for each in told]
            assert numbers == [each["sequence"] for each in told]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert subscribers(plane) == 0

    on_a_loop(main)


@pytest.mark.parametrize("how", ["after", "last-event-id", "both"])
def test_a_reader_that_comes_back_goes_on_where_it_was(
    page: Dashboard, plane: ControlPlane, how: str
) -> None:
    async def main() -> None:
        async with reading(page, "/api/events", "id=a&after=0") as reader:
            whole = await reader.until("runtime.projection_emitted")
        place = whole[4]["place"]
        queries = {"after": f"id=a&after={place}", "last-event-id": "id=a", "both": "id=a&after=0"}
        headers = () if how == "after" else (("last-event-id", place),)
        async with reading(page, "/api/events", queries[how], *headers) as reader:
            assert await reader.until("runtime.projection_emitted") == whole[5:]

    on_a_loop(main)


def test_of_all_runtimes_events_have_no_number_to_come_back_to(
    page: Dashboard, plane: ControlPlane
) -> None:
    async def main() -> None:
        async with reading(page) as reader:
            await worked(plane)
            told = await reader.until("run.completed")
            assert {each["place"] for each in told} == {None}

    on_a_loop(main)


def test_what_a_host_says_is_told_only_when_it_is_asked_for(
    page: Dashboard, plane: ControlPlane
) -> None:
    async def main() -> None:
        async with reading(page, "/api/events", "id=a&after=0") as reader:
            told = await reader.until("runtime.projection_emitted")
            assert CANARY not in json.dumps(told)
            assert "run.progress" in {code_of(each) for each in told}
        async with reading(page, "/api/events", "id=a&after=0&payload=1") as reader:
            told = await reader.until("runtime.projection_emitted")
            assert told[-1]["event"]["data"]["projection"] == {"said": CANARY}
            (first, *_) = [each for each in told if code_of(each) == "run.progress"]
            assert first["event"]["data"]["detail"] == CANARY

    on_a_loop(main)


def test_a_reader_that_is_too_slow_is_told_what_it_missed() -> None:
    async def main() -> None:
        with ControlPlane(MemoryStore(), limits=Limits(events_per_runtime_max=4)) as plane:
            plane.register("a")
            page = Dashboard(plane, token=TOKEN)
            for number in range(9):
                plane.ingest("a", PromptInput(f"{number}"))
            async with reading(page, "/api/events", "id=a&after=1") as reader:
                first, *_ = await reader.until("gap")
            assert first["requested"] == 1
            assert first["dropped_through"] == first["watermark"] - 4

    on_a_loop(main)


def test_the_figures_are_told_again_and_again(
    page: Dashboard, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams_module, "TICK_S", 0.001)
    monkeypatch.setattr("actors.dashboard.desk.FRESH_S", 0.0)

    async def main() -> None:
        async with reading(page, "/api/figures") as reader:
            (first,) = await reader.until("figures")
            await worked(plane)
            while (await reader.until("figures"))[0]["consumed"] == first["consumed"]:
                pass

    on_a_loop(main)


def test_many_readers_of_the_figures_cost_one_reading(
    page: Dashboard, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.dashboard.desk.FRESH_S", WAIT_S)
    readings = []
    figures = plane.figures
    monkeypatch.setattr(plane, "figures", lambda: readings.append(None) or figures())

    async def main() -> None:
        async with AsyncExitStack() as stack:
            for _ in range(20):
                reader = await stack.enter_async_context(reading(page, "/api/figures"))
                await reader.until("figures")
        assert len(readings) == 1

    on_a_loop(main)


def test_a_stream_without_news_gives_a_sign_of_life(
    page: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams_module, "QUIET_S", 0.001)

    async def main() -> None:
        reader = Reading(page, Asking("/api/events", query="id=b", headers=with_token()))
        await reader.started()
        for _ in range(3):
            assert (await reader._next())["body"] == b":\n\n"
        await reader.leave()

    on_a_loop(main)


# --- how it ends ------------------------------------------------------------------------

PATHS = pytest.mark.parametrize("route", ["/api/events", "/api/figures"])


@PATHS
def test_a_stream_ends_when_the_plane_stops(
    page: Dashboard, plane: ControlPlane, route: str
) -> None:
    async def main() -> None:
        async with reading(page, route) as reader:
            await asyncio.to_thread(plane.stop)
            assert (await reader.until("end"))[-1]["kind"] == "end"
            with pytest.raises(EOFError):
                await reader.event()

    on_a_loop(main)


@PATHS
def test_a_stream_ends_when_the_page_is_closed_and_none_comes_after(
    page: Dashboard, plane: ControlPlane, route: str
) -> None:
    async def main() -> None:
        async with reading(page, route) as reader:
            await asyncio.to_thread(page.close)
            await reader.until("end")
        answer = await answered(page, Asking(route, headers=with_token()))
        assert (answer.status, answer.code) == (503, "closed")
        page.close()
        assert subscribers(plane) == 0

    on_a_loop(main)


@PATHS
def test_a_reader_that_goes_away_leaves_nothing_behind(
    page: Dashboard, plane: ControlPlane, route: str
) -> None:
    async def main() -> None:
        for _ in range(3):
            async with reading(page, route):
                assert len(page._desk.streams._ends) == 1
            assert page._desk.streams._ends == {}
            assert subscribers(plane) == 0

    on_a_loop(main)


def test_a_reader_that_does_not_read_is_given_up(
    page: Dashboard, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.dashboard.app.SEND_S", 0.01)

    async def main() -> None:
        async with reading(page, "/api/events", "id=a") as reader:
            reader.stall()
            await worked(plane)
            async with asyncio.timeout(WAIT_S):
                await reader.task
        assert page._desk.streams._ends == {}
        assert subscribers(plane) == 0

    on_a_loop(main)


def test_the_lifespan_of_a_server_closes_the_page(page: Dashboard) -> None:
    sent: list[str] = []
    messages = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> Message:
        return {"type": next(messages)}

    async def send(message: Message) -> None:
        sent.append(message["type"])

    asyncio.run(page({"type": "lifespan"}, receive, send))  # type: ignore[arg-type]
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert page._desk.streams.closed


# --- how many there are -----------------------------------------------------------------


def test_as_many_streams_as_there_may_be_hold_no_thread_and_do_not_stop_the_page(
    page: Dashboard, plane: ControlPlane
) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(reading(page, "/api/figures"))
            before = threading.active_count()
            readers = [
                await stack.enter_async_context(reading(page, "/api/events", "id=a"))
                for _ in range(STREAMS_MAX - 1)
            ]
            assert threading.active_count() < before + STREAMS_MAX / 10
            one_more = await answered(page, Asking("/api/figures", headers=with_token()))
            assert (one_more.status, one_more.code) == (429, "too_many_streams")
            runtimes = await answered(page, Asking("/api/runtimes", headers=with_token()))
            assert runtimes.status == 200
            await worked(plane)
            for reader in readers:
                await reader.until("run.completed")
        async with reading(page, "/api/figures"):
            pass

    on_a_loop(main)


def test_a_stream_that_is_refused_takes_no_place(page: Dashboard) -> None:
    async def main() -> None:
        asking = Asking("/api/events", query="id=zz", headers=with_token())
        for _ in range(STREAMS_MAX + 1):
            assert (await answered(page, asking)).status == 404

    on_a_loop(main)


class Told:
    """A feed that has told so much already, and ends then."""

    def __init__(self, *told: RuntimeEventEnvelope) -> None:
        self._left = list(told)

    async def __anext__(self) -> RuntimeEventEnvelope:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop(0)

    def next_ready(self) -> RuntimeEventEnvelope | None:
        return self._left.pop(0) if self._left else None


def pieces_of(texts: list[str]) -> list[str]:
    """What a stream sends of these, the sign of life and the end left out."""
    events = [
        RuntimeEventEnvelope(runtime_id="a", sequence=number, event=ProjectionEvent(text))
        for number, text in enumerate(texts)
    ]

    async def read() -> list[str]:
        feed: Any = Told(*events)
        streams = streams_module.Streams()
        stream = streams_module.event_texts(feed, streams, numbered=True, payload=True)
        return [piece.decode() async for piece in stream][1:-1]

    return asyncio.run(read())


def numbers_of(piece: str) -> list[int]:
    return [int(line[4:]) for line in piece.splitlines() if line.startswith("id: ")]


def test_what_is_there_is_sent_together_and_nothing_of_it_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams_module, "BURST", 3)
    monkeypatch.setattr(streams_module, "PAUSE_S", 0.001)
    assert [numbers_of(piece) for piece in pieces_of(["said"] * 7)] == [[0, 1, 2], [3, 4, 5], [6]]


def test_a_piece_is_no_longer_than_a_reader_has_time_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams_module, "PIECE_BYTES", 1_000)
    pieces = pieces_of(["x" * 2_000, "y", "z", "x" * 2_000, "y"])
    assert [numbers_of(piece) for piece in pieces] == [[0], [1, 2, 3], [4]]
