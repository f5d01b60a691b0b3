"""Waits that are cancelled at any point: the work goes on, once, and nothing is left behind."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from aio_builders import OnLoop, begun, cancelled, running, soon, system_behind, waits_on
from coroutine_builders import STRICT, AsyncAgent, threads_gone
from plane_builders import Agent, prompt
from plane_stores import FrozenDisk

from actors.aio import AsyncControlPlane
from meerkat.outcomes import CompletionKind
from meerkat.store import SqliteStore

pytestmark = STRICT

STEPS = 500
RUNTIMES = [*"abcd"]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with threads_gone():
        yield


def test_an_input_whose_offer_was_cancelled_is_accepted_all_the_same(
    on_loop: OnLoop, path: Path
) -> None:
    async def main() -> None:
        agent, disk = Agent(), FrozenDisk(SqliteStore(path))
        async with running(path, agent, store=disk) as plane:
            disk.freeze()
            await cancelled(await begun(plane.ingest("a", prompt(idempotency_key="k"))))
            disk.thaw()
            outcome = await plane.ingest("a", prompt(idempotency_key="k"))
            assert outcome.existing_id
            handle = await plane.completion("a", outcome)
            assert (await soon(handle)).result == "re: hello"
            assert agent.texts == ["hello"]

    on_loop(main)


def test_a_wait_for_a_handle_that_is_cancelled_disturbs_no_other(
    on_loop: OnLoop, path: Path
) -> None:
    async def main() -> None:
        agent = Agent(held=True)
        async with running(path, agent) as plane:
            handle = plane.submit("a", prompt()).completion
            other = await begun(soon(handle))
            for _ in range(50):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(handle, 0.0001)
                await cancelled(await begun(soon(handle)))
            assert len(handle._waiters._waiting) == 1
            assert waits_on(handle.future) == 1
            agent.release()
            assert (await other).result == "re: hello"
            assert not handle._waiters._waiting

    on_loop(main)


class Storm:
    """Calls of every kind, each of which may be cancelled wherever it waits."""

    def __init__(self, plane: AsyncControlPlane, seed: int) -> None:
        self.plane = plane
        self.chance = random.Random(seed)
        self.offered: dict[str, str] = {}  # the runtime of each key
        self.acknowledged: dict[str, Any] = {}
        self.ended: dict[str, Any] = {}
        self._kinds: list[Callable[[], Coroutine[Any, Any, Any]]] = [
            self._ingest,
            self._ingest,
            self._submit,
            self._completes,
            self._reads,
            self._looks,
        ]

    def _new(self) -> tuple[str, str]:
        key, name = f"k{len(self.offered)}", self.chance.choice(RUNTIMES)
        self.offered[key] = name
        return key, name

    async def _ingest(self) -> None:
        key, name = self._new()
        outcome = await self.plane.ingest(name, prompt(key, idempotency_key=key))
        self.acknowledged[key] = outcome

    async def _submit(self) -> None:
        key, name = self._new()
        submitted = self.plane.submit(name, prompt(key, idempotency_key=key))
        self.acknowledged[key] = await submitted.accepted
        self.ended[key] = await submitted.completion

    async def _completes(self) -> None:
        if self.acknowledged:
            key = self.chance.choice(list(self.acknowledged))
            handle = await self.plane.completion(self.offered[key], self.acknowledged[key])
            self.ended[key] = await handle

    async def _reads(self) -> None:
        name = self.chance.choice([None, *RUNTIMES])
        async with self.plane.subscribe(name) as events:
            for _ in range(self.chance.randrange(5)):
                await anext(events)

    async def _looks(self) -> None:
        name = self.chance.choice(RUNTIMES)
        await self.plane.active_input_ids(name, timeout=self.chance.choice([None, 10.0]))

    async def blows(self) -> None:
        tasks: set[asyncio.Task[Any]] = set()
        for _ in range(STEPS):
            tasks.add(asyncio.ensure_future(self.chance.choice(self._kinds)()))
            await asyncio.sleep(self.chance.choice([0, 0, 0, 0.0005]))
            for task in self.chance.sample(sorted(tasks, key=id), len(tasks) // 4):
                task.cancel()
            for task in {each for each in tasks if each.done()}:
                tasks.remove(task)
                assert task.cancelled() or task.exception() is None
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    async def settled(self) -> None:
        """Everything that was offered has ended, what was cancelled on its way included."""
        for key, name in self.offered.items():
            again = await self.plane.ingest(name, prompt(key, idempotency_key=key))
            known = self.acknowledged.setdefault(key, again)
            same = {getattr(each, "existing_id", each.input_id) for each in (known, again)}
            assert len(same) == 1
            ended = await soon(await self.plane.completion(name, again))
            assert self.ended.setdefault(key, ended) == ended
            assert ended.kind is CompletionKind.COMPLETED


@pytest.mark.parametrize("kind", [Agent, AsyncAgent])
@pytest.mark.parametrize("seed", range(2))
def test_a_storm_of_cancelled_calls_loses_nothing_and_repeats_nothing(
    on_loop: OnLoop, path: Path, kind: type[Agent], seed: int
) -> None:
    async def main() -> None:
        agent = kind()
        async with running(path, agent) as plane:
            await plane.register_many(RUNTIMES)
            storm = Storm(plane, seed)
            await storm.blows()
            await storm.settled()
            assert len(storm.offered) > STEPS // 4
            system = system_behind(plane)
            assert len(system.calls) == 0
            async with plane.subscribe() as events:  # and whatever was left is gone by now
                assert system.events._subscribers == {None: {events._feed: None}}
        assert set(Counter(agent.texts).values()) == {1}
        assert set(agent.texts) == set(storm.offered)

    on_loop(main)
