"""Boundary and AsyncBoundary as values: what they show, and what committing one does to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from builders import continuation, event, message, operation, progress, prompt, step, uuid_of

from meerkat import Boundary, Input, InputId, PromptInput, RunBoundaryReceipt, RunId, RunOutput
from meerkat.boundary import AsyncBoundary
from meerkat.errors import RunRefused, StoreError
from meerkat.policy import RunBoundary

RECEIPT = RunBoundaryReceipt(
    run_id=RunId(uuid_of(1)),
    boundary=RunBoundary.RUN_CHECKPOINT,
    contributing_input_ids=(InputId(uuid_of(2)),),
    message_count=1,
    sequence=0,
)
SAID = [{"role": "user", "content": "hello"}]


class Committer:
    """What stands behind a boundary: notes what it is asked, and fails when told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[InputId, ...], RunOutput]] = []
        self.error: BaseException | None = None

    def __call__(self, input_ids: tuple[InputId, ...], output: RunOutput) -> RunBoundaryReceipt:
        self.asked.append((input_ids, output))
        if self.error is not None:
            raise self.error
        return RECEIPT


class Kind:
    """One of the two kinds of boundary, its commit called and awaited alike."""

    def __init__(self, *inputs: Input) -> None:
        self.committer = Committer()
        self.boundary: Boundary | AsyncBoundary = self.made(inputs)

    def made(self, inputs: tuple[Input, ...]) -> Boundary | AsyncBoundary:
        return Boundary(inputs, self.committer)

    def commit(self, **forms: Any) -> RunBoundaryReceipt:
        committed: Any = self.boundary.commit(**forms)
        receipt: RunBoundaryReceipt = committed
        return receipt


class AsyncKind(Kind):
    def made(self, inputs: tuple[Input, ...]) -> AsyncBoundary:
        async def commit(ids: tuple[InputId, ...], output: RunOutput) -> RunBoundaryReceipt:
            await asyncio.sleep(0)
            return self.committer(ids, output)

        return AsyncBoundary(inputs, commit)

    def commit(self, **forms: Any) -> RunBoundaryReceipt:
        committed: Any = self.boundary.commit(**forms)
        receipt: RunBoundaryReceipt = asyncio.run(committed)
        return receipt


BoundaryOf = Callable[..., Kind]
both_kinds = pytest.mark.parametrize("of", [Kind, AsyncKind])


@both_kinds
def test_it_is_falsy_exactly_when_nothing_was_steered(of: BoundaryOf) -> None:
    assert not of().boundary
    assert of(prompt("")).boundary  # an empty text is something too
    assert of(prompt(), message()).boundary


@both_kinds
def test_it_holds_the_inputs_and_their_texts_in_order(of: BoundaryOf) -> None:
    blocks = PromptInput([{"type": "text", "text": "a"}, {"type": "image"}, {"text": "b"}])
    inputs = (prompt("one"), event({"n": [1]}), message("two"), step("three"), blocks, progress())
    boundary = of(*inputs).boundary
    assert boundary.inputs == inputs
    assert boundary.texts == ["one", '{"n":[1]}', "two", "three", "a\nb", "half way"]


@both_kinds
def test_inputs_that_say_nothing_have_no_text(of: BoundaryOf) -> None:
    boundary = of(continuation(), prompt("one"), operation()).boundary
    assert len(boundary.inputs) == 3
    assert boundary.texts == ["one"]
    assert of().boundary.texts == []


@both_kinds
def test_texts_handed_out_are_a_copy(of: BoundaryOf) -> None:
    boundary = of(prompt("one")).boundary
    boundary.texts.append("two")
    assert boundary.texts == ["one"]


@both_kinds
def test_its_repr_shows_how_many_and_no_text(of: BoundaryOf) -> None:
    kind = of(prompt("secret"), message("secret"))
    name = type(kind.boundary).__name__
    assert repr(kind.boundary) == f"{name}(inputs=2, committed=False)"
    kind.commit(append=[{"content": "secret"}])
    assert repr(kind.boundary) == f"{name}(inputs=2, committed=True)"
    assert repr(of().boundary) == f"{name}(inputs=0, committed=False)"


@both_kinds
@pytest.mark.parametrize(
    "forms", [{}, {"append": SAID}, {"messages": SAID}, {"snapshot": b""}, {"append": []}]
)
def test_a_commit_names_exactly_these_inputs_and_gives_their_receipt(
    of: BoundaryOf, forms: dict[str, Any]
) -> None:
    kind = of(prompt("one"), message("two"))
    assert kind.commit(**forms) is RECEIPT
    ids = tuple(each.id for each in kind.boundary.inputs)
    assert kind.committer.asked == [(ids, RunOutput(**forms))]


@both_kinds
def test_an_empty_one_is_not_committed(of: BoundaryOf) -> None:
    kind = of()
    for _ in range(2):
        with pytest.raises(RunRefused, match="nothing to commit"):
            kind.commit(append=SAID)
    assert kind.committer.asked == []


@both_kinds
def test_it_is_committed_once_and_still_shows_what_it_was(of: BoundaryOf) -> None:
    kind = of(prompt("one"))
    kind.commit()
    for _ in range(2):
        with pytest.raises(RunRefused, match="committed already"):
            kind.commit(append=SAID)
    assert len(kind.committer.asked) == 1
    assert kind.boundary
    assert kind.boundary.texts == ["one"]


@both_kinds
@pytest.mark.parametrize("error", [StoreError("disk full"), RunRefused("not now"), KeyError()])
def test_a_commit_that_failed_may_be_repeated(of: BoundaryOf, error: BaseException) -> None:
    kind = of(prompt("one"))
    kind.committer.error = error
    for _ in range(2):
        with pytest.raises(type(error)) as raised:
            kind.commit(append=SAID)
        assert raised.value is error
    assert "committed=False" in repr(kind.boundary)
    kind.committer.error = None
    assert kind.commit(append=SAID) is RECEIPT
    assert len(kind.committer.asked) == 3


@both_kinds
@pytest.mark.parametrize(
    ("forms", "error"),
    [
        ({"append": SAID, "messages": SAID}, ValueError),
        ({"append": SAID, "snapshot": b""}, ValueError),
        ({"append": "hello"}, TypeError),
        ({"messages": [1]}, TypeError),
        ({"snapshot": "hello"}, TypeError),
    ],
)
def test_what_cannot_be_an_output_is_refused_before_anything_is_asked(
    of: BoundaryOf, forms: dict[str, Any], error: type[Exception]
) -> None:
    kind = of(prompt("one"))
    with pytest.raises(error):
        kind.commit(**forms)
    assert kind.committer.asked == []
    assert kind.commit() is RECEIPT


@both_kinds
def test_what_is_committed_is_a_copy_of_what_was_given(of: BoundaryOf) -> None:
    kind, mine = of(prompt("one")), [{"content": ["a"]}]
    kind.commit(append=mine)
    mine[0]["content"].append("b")
    ((_, output),) = kind.committer.asked
    assert output == RunOutput(append=[{"content": ["a"]}])


def test_an_async_commit_that_is_not_awaited_asks_for_nothing() -> None:
    kind = AsyncKind(prompt("one"))
    waiting: Any = kind.boundary.commit()
    waiting.close()
    assert kind.committer.asked == []
    assert kind.commit() is RECEIPT


def test_a_cancelled_wait_for_a_commit_leaves_the_boundary_open() -> None:
    """Whether the commit has landed is the run's to know, not the boundary's."""

    async def wait_and_be_cancelled() -> AsyncBoundary:
        asked = asyncio.Event()

        async def commit(_ids: tuple[InputId, ...], _output: RunOutput) -> RunBoundaryReceipt:
            asked.set()
            await asyncio.Event().wait()
            return RECEIPT

        boundary = AsyncBoundary((prompt("one"),), commit)
        task = asyncio.ensure_future(boundary.commit())
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return boundary

    assert "committed=False" in repr(asyncio.run(wait_and_be_cancelled()))
