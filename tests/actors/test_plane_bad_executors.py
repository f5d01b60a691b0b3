"""Bad executors: whatever host code raises or returns is a failed attempt with a clear text."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from plane_builders import Agent, Called, OpenPlane, prompt, result_of

from meerkat import RunContext, RunOutput
from meerkat.errors import ApplyFailed
from meerkat.outcomes import CompletionKind


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even that")


def raising(error: BaseException) -> Callable[..., Any]:
    def behave(*_: Any) -> None:
        raise error

    return behave


RAISED = [
    (ValueError("bad seat"), "ValueError: bad seat"),
    (ValueError(), "ValueError"),
    (SystemExit(3), "SystemExit: 3"),
    (KeyboardInterrupt(), "KeyboardInterrupt"),
    (MemoryError("much"), "MemoryError: much"),
    (GeneratorExit(), "GeneratorExit"),
    (TimeoutError("slow"), "TimeoutError: slow"),
    (StopIteration(1), "StopIteration: 1"),
    (ApplyFailed("told so"), "told so"),
    (ApplyFailed(["a", "list"]), "['a', 'list']"),  # type: ignore[arg-type]
    (ValueError("\ud800 lone"), "ValueError: \\ud800 lone"),
    (Unprintable(), "Unprintable"),
]


@pytest.mark.parametrize(("error", "text"), RAISED, ids=[str(text) for _, text in RAISED])
def test_what_an_executor_raises_is_a_failed_attempt(
    open_plane: OpenPlane, error: BaseException, text: str
) -> None:
    check_failed(open_plane, raising(error), text)


def check_failed(open_plane: OpenPlane, behaviour: Callable[..., Any], text: str) -> None:
    """Three attempts, an end that says why, and a runtime that goes on."""

    def behave(called: Called, context: RunContext) -> Any:
        return behaviour(called, context) if called.text == "bad" else None

    agent = Agent(behave)
    plane = open_plane(agent)
    plane.register_many(["a", "b"])
    bad, good = plane.submit("a", prompt("bad")), plane.submit("a", prompt("good"))
    ended = result_of(bad.completion)
    assert ended.kind is CompletionKind.ABANDONED
    assert ended.reason == "max_attempts_exhausted"
    assert text in (ended.error or "")
    assert result_of(good.completion).result == "re: good"
    assert result_of(plane.submit("b", prompt("other")).completion).result == "re: other"
    assert agent.texts.count("bad") == 3
    plane.stop()


def loop() -> list[Any]:
    endless: list[Any] = []
    endless.append(endless)
    return endless


def says(content: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content}]


RETURNED: dict[str, tuple[Callable[[], Any], str]] = {
    "text": (lambda: "done", "RunOutput, not str"),
    "a dict": (lambda: {"append": []}, "RunOutput, not dict"),
    "a future": (object, "RunOutput, not object"),
    "messages that are no list": (lambda: RunOutput(append="text"), "list, not str"),  # type: ignore[arg-type]
    "a message that is no mapping": (lambda: RunOutput(append=["text"]), "mapping, not str"),  # type: ignore[list-item]
    "two of three": (lambda: RunOutput(append=[], snapshot=b""), "one of append, messages"),
    "a snapshot of text": (lambda: RunOutput(snapshot="text"), "bytes, not str"),  # type: ignore[arg-type]
    "NaN": (lambda: RunOutput(append=says(math.nan)), "NaN"),
    "infinity": (lambda: RunOutput(messages=says([math.inf])), "NaN or an infinity"),
    "a lone surrogate": (lambda: RunOutput(append=says("\ud800")), "lone surrogate"),
    "an object": (lambda: RunOutput(append=says(object())), "object is not a JSON value"),
    "bytes": (lambda: RunOutput(append=says(b"x")), "bytes is not a JSON value"),
    "a large integer": (lambda: RunOutput(append=says(2**64)), "integer outside"),
    "a key that is no string": (lambda: RunOutput(append=[{1: "x"}]), "not a string"),  # type: ignore[dict-item]
    "an endless list": (lambda: RunOutput(append=says(loop())), "nested deeper"),
    "a NaN result": (lambda: RunOutput(result=math.nan), "NaN"),
    "an object result": (lambda: RunOutput(result=object()), "object is not a JSON value"),  # type: ignore[arg-type]
    "a surrogate result": (lambda: RunOutput(result=["\udfff"]), "lone surrogate"),
    "a count of text": (lambda: RunOutput(message_count="2"), "message_count"),  # type: ignore[arg-type]
    "a negative count": (lambda: RunOutput(message_count=-1), "message_count"),
    "a digest of bytes": (lambda: RunOutput(conversation_digest=b"x"), "conversation_digest"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", RETURNED)
def test_what_cannot_be_stored_is_a_failed_attempt(open_plane: OpenPlane, name: str) -> None:
    make, text = RETURNED[name]
    check_failed(open_plane, lambda *_: make(), text)


def test_what_an_executor_keeps_cannot_change_what_was_committed(open_plane: OpenPlane) -> None:
    kept: list[Any] = []

    def behave(called: Called, context: RunContext) -> RunOutput:
        messages = context.messages
        for message in messages:
            message["content"] = "changed"
        kept.append({"role": "user", "content": called.text})
        return RunOutput(append=kept[-1:], result=kept[-1])

    plane = open_plane(Agent(behave))
    plane.register("a")
    first = result_of(plane.submit("a", prompt("1")).completion)
    kept[0]["content"] = "changed"
    result_of(plane.submit("a", prompt("2")).completion)
    seen: list[Any] = []
    plane.attach_executor("a", Agent(lambda _, context: seen.extend(context.messages)))
    result_of(plane.submit("a", prompt("3")).completion)
    assert [message["content"] for message in seen] == ["1", "2"]
    assert first.result == {"role": "user", "content": "1"}


@pytest.mark.parametrize("executor", [7, "text", object()])
def test_what_cannot_be_called_is_no_executor(open_plane: OpenPlane, executor: Any) -> None:
    with pytest.raises(TypeError, match="executor"):
        open_plane(executor)
    plane = open_plane()
    plane.register("a")
    with pytest.raises(TypeError, match="executor"):
        plane.attach_executor("a", executor)
