"""Coroutine executors: what they may look like, and that they do what ordinary ones do."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from coroutine_builders import STRICT, AsyncAgent, digest, noiseless
from plane_builders import (
    Agent,
    OpenPlane,
    prompt,
    result_of,
    system_of,
)

from meerkat import LogicalRuntimeId, RunOutput, StagedInput
from meerkat.errors import ApplyFailed
from meerkat.outcomes import CompletionKind
from meerkat.store import SqliteStore

pytestmark = STRICT

A = LogicalRuntimeId("a")
LOOP = "meerkat-run-loop"


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with noiseless():
        yield


# --- what is a coroutine executor -------------------------------------------------------


async def where(_context: Any, _primitive: StagedInput, *_more: Any) -> RunOutput:
    return RunOutput(result=threading.current_thread().name)


class WithApply:
    async def apply(self, context: Any, primitive: StagedInput) -> RunOutput:
        return await where(context, primitive)

    @staticmethod
    async def answer(context: Any, primitive: StagedInput) -> RunOutput:
        return await where(context, primitive)


class CallableObject:
    async def __call__(self, context: Any, primitive: StagedInput) -> RunOutput:
        return await where(context, primitive)


class Keyed:
    async def answer(self, key: str, context: Any, primitive: StagedInput) -> RunOutput:
        return await where(context, primitive, key)


class AppliesAnObject:
    apply = CallableObject()


class CallableWithApply(WithApply):
    def __call__(self, context: Any, primitive: StagedInput) -> RunOutput:
        raise AssertionError("it has an apply")


SHAPES: dict[str, Any] = {
    "a function": where,
    "an object with apply": WithApply(),
    "an object whose apply is an object": AppliesAnObject(),
    "a callable object": CallableObject(),
    "a callable object with apply": CallableWithApply(),
    "a bound method": WithApply().apply,
    "a static method": WithApply.answer,
    "a partial function": partial(where),
    "a partial bound method": partial(Keyed().answer, "key"),
    "a partial of a partial": partial(partial(Keyed().answer), "key"),
    "a partial callable object": partial(CallableObject()),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_coroutine_executor_runs_on_the_event_loop(open_plane: OpenPlane, shape: str) -> None:
    plane = open_plane(SHAPES[shape])
    plane.register("a")
    ended = result_of(plane.submit("a", prompt()).completion)
    assert (ended.kind, ended.result) == (CompletionKind.COMPLETED, LOOP), ended.error


# --- beside, before and after ordinary executors ----------------------------------------


def test_executors_of_both_kinds_take_turns_in_one_conversation(open_plane: OpenPlane) -> None:
    plane = open_plane(Agent(), max_concurrent_runs=1)
    plane.register("a")
    threads: list[str] = []

    async def notes(_called: Any, context: Any) -> None:
        threads.append(threading.current_thread().name)

    texts = [str(number) for number in range(6)]
    for text in texts:
        plane.attach_executor("a", AsyncAgent(notes) if int(text) % 2 else Agent())
        assert result_of(plane.submit("a", prompt(text)).completion).result == f"re: {text}"
    assert threads == [LOOP] * 3
    plane.stop()
    store = system_of(plane).store
    snapshot = store.load_session_snapshot(A)
    messages = json.loads(snapshot.messages)
    expected = [word for text in texts for word in (text, f"re: {text}")]
    assert [message["content"] for message in messages] == expected
    digests = {receipt.conversation_digest for receipt in store.page_receipts(A).items}
    assert digests == {digest(messages[: 2 * end]) for end in range(1, len(texts) + 1)}


def test_an_executor_is_replaced_from_the_next_run_on(open_plane: OpenPlane) -> None:
    coroutine, ordinary = AsyncAgent(held=True), Agent()
    plane = open_plane(coroutine)
    plane.register("a")
    submitted = [plane.submit("a", prompt(text)) for text in ("1", "2")]
    coroutine.next_call()
    plane.attach_executor("a", ordinary)
    coroutine.release()
    assert [result_of(each.completion).result for each in submitted] == ["re: 1", "re: 2"]
    assert (coroutine.texts, ordinary.texts) == (["1"], ["2"])


def test_lop_03_a_hopeless_head_is_given_up_and_the_next_one_runs(open_plane: OpenPlane) -> None:
    async def fail_on_bad(called: Any, _context: Any) -> None:
        if called.text == "bad":
            raise ApplyFailed("never")

    agent = AsyncAgent(fail_on_bad)
    plane = open_plane(agent)
    plane.register("a")
    bad, good = (plane.submit("a", prompt(text)) for text in ("bad", "good"))
    ended = result_of(bad.completion)
    assert (ended.reason, ended.error) == ("max_attempts_exhausted", "never")
    assert result_of(good.completion).result == "re: good"
    assert [call.attempt for call in agent.calls] == [1, 2, 3, 1]


def test_a_run_that_a_crash_cut_off_is_taken_up_by_a_coroutine(
    open_plane: OpenPlane, path: Path
) -> None:
    """The copy is what a crash in mid-run leaves: staged, one attempt counted, no receipt."""
    first, second = AsyncAgent(held=True), AsyncAgent()
    plane = open_plane(first)
    plane.register("a")
    submitted = plane.submit("a", prompt("again"))
    first.next_call()
    copy = path.with_name("copy.db")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    again = open_plane(second, store=SqliteStore(copy))
    input_id = result_of(submitted.accepted).input_id
    assert result_of(again.completion("a", input_id)).result == "re: again"
    assert [call.attempt for call in second.calls] == [2]
