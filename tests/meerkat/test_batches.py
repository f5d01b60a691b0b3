"""Choosing a batch: which inputs go into one run, and the primitive they become."""

from __future__ import annotations

import json
from typing import Any

import pytest
from attrs import evolve
from builders import (
    Runtime,
    continuation,
    effects_of,
    event,
    message,
    operation,
    progress,
    prompt,
    request,
    step,
    terminal,
)

from meerkat import Input, PolicyDecision, PromptInput, RunId, StagedInput, kernel
from meerkat.errors import BatchConflict
from meerkat.kernel.memory import Rules
from meerkat.policy import DEFAULT_POLICY, Lane, QueueMode, RunBoundary
from meerkat.runs import Append, ExecutionKind, merge_metadata, staged_input


def steer(build: Any = message, **header: Any) -> Any:
    if build in (prompt, step):
        metadata = {"handling_mode": "steer", **header.pop("turn_metadata", {})}
        return build(turn_metadata=metadata, **header)
    return build(handling_mode="steer", **header)


def first_batch(*offered: Input, rules: Rules | None = None) -> list[int]:
    """Which of the offered inputs the next run takes, by their place."""
    runtime = Runtime(rules)
    ids = runtime.admit(*offered)
    runtime.do(kernel.Wake())
    runtime.stage()
    return [ids.index(each) for each in runtime.contributors]


# --- the queue lane ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offered", "taken"),
    [
        ([prompt(), prompt()], [0]),
        ([prompt(), message()], [0]),
        ([message(), message(), prompt(), message()], [0, 1]),
        ([message(), request(), step(), event()], [0, 1, 2, 3]),
        ([terminal(), terminal(), message()], [0, 1]),
        ([message(), terminal(), message()], [0]),
        ([terminal(), prompt()], [0]),
        ([continuation(handling_mode="queue"), message()], [0]),
        ([message(), continuation(handling_mode="queue"), message()], [0]),
        ([continuation(handling_mode="queue"), prompt()], [0]),
        (
            [continuation(handling_mode="queue"), continuation(handling_mode="queue"), prompt()],
            [0, 1],
        ),
    ],
)
def test_queue_lane(offered: list[Input], taken: list[int]) -> None:
    assert first_batch(*offered) == taken


# --- the steer lane ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offered", "taken"),
    [
        ([prompt(), steer()], [1]),
        ([steer(), progress(), steer(event)], [0, 1, 2]),
        ([steer(prompt), steer(prompt), steer(step)], [0, 1, 2]),
        ([steer(), continuation(), steer()], [0]),
        ([continuation(), continuation(), steer()], [0, 1]),
        ([steer(terminal), steer()], [0]),
        ([progress(), steer(terminal)], [0]),
        ([steer(terminal), steer(terminal), progress()], [0, 1]),
    ],
)
def test_steer_lane(offered: list[Input], taken: list[int]) -> None:
    assert first_batch(*offered) == taken


def test_steer_lane_stops_at_another_boundary() -> None:
    """A host's policy may put run-start inputs in the steer lane too."""

    class Mixed:
        def resolve(self, input: Input, *, running: bool) -> PolicyDecision:  # noqa: A002
            decision = DEFAULT_POLICY.resolve(steer(), running=running)
            at_start = isinstance(input, PromptInput)
            apply_mode = DEFAULT_POLICY.resolve(prompt(), running=False).apply_mode
            return evolve(decision, apply_mode=apply_mode) if at_start else decision

    rules = Rules(policy=Mixed())
    assert first_batch(message(), message(), prompt(), message(), rules=rules) == [0, 1]
    assert first_batch(prompt(), prompt(), message(), rules=rules) == [0, 1]


@pytest.mark.parametrize(("waiting", "taken"), [(63, 63), (64, 64), (65, 64)])
@pytest.mark.parametrize("build", [message, steer])
def test_a_batch_is_64_at_most(build: Any, waiting: int, taken: int) -> None:
    runtime = Runtime()
    ids = runtime.admit(*(build() for _ in range(waiting)))
    runtime.stage()
    assert runtime.contributors == ids[:taken]
    lane = Lane.QUEUE if build is message else Lane.STEER
    assert runtime.lane(lane) == ids[taken:]


@pytest.mark.parametrize(
    ("first", "second", "taken"),
    [
        ({"model": "a"}, {"model": "a"}, [0, 1]),
        ({"model": "a"}, {"model": "b"}, [0]),
        ({"model": "a"}, {"provider": "p"}, [0, 1]),
        ({"model": "a"}, None, [0, 1]),
        (None, {"model": "a"}, [0, 1]),
        ({"tags": ["a"]}, {"tags": ["b"]}, [0, 1]),
        ({"tags": ["a"]}, {"tags": "b"}, [0]),
        ({"keep_alive": True}, {"keep_alive": False}, [0]),
    ],
)
def test_a_batch_stops_before_contradicting_metadata(
    first: Any, second: Any, taken: list[int]
) -> None:
    assert first_batch(step(turn_metadata=first), step(turn_metadata=second)) == taken


def test_what_contradicted_runs_next() -> None:
    runtime = Runtime()
    ids = runtime.admit(*(step(turn_metadata={"model": model}) for model in "aab"))
    runtime.complete(runtime.stage())
    runtime.stage()
    assert runtime.contributors == ids[2:]


# --- the primitive ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "field"),
    [
        ([message(), continuation()], "execution_kind"),
        (
            [step(turn_metadata={"model": "a"}), step(turn_metadata={"model": "b"})],
            "model",
        ),
        (
            [step(turn_metadata={"provider": "a"}), step(turn_metadata={"provider": 1})],
            "provider",
        ),
    ],
)
def test_lop_13_a_contradiction_is_typed_and_names_the_field(
    inputs: list[Input], field: str
) -> None:
    with pytest.raises(BatchConflict) as refused:
        staged_input(RunBoundary.RUN_START, inputs)
    assert refused.value.field == field
    assert str(refused.value) == f"Batch conflict: inputs disagree on {field}"


def test_lop_13_terminal_responses_never_share_with_messages() -> None:
    assert first_batch(terminal(), message()) == [0]
    assert first_batch(message(), terminal()) == [0]


def primitive_of(*offered: Input) -> StagedInput:
    runtime = Runtime()
    runtime.admit(*offered)
    runtime.do(kernel.Wake())
    done = runtime.do(kernel.StageRun(RunId.new()))
    (started,) = effects_of(done, kernel.StartRun)
    return started.primitive


def test_appends_and_text() -> None:
    offered = (message("one"), step("two"), event({"b": 1, "a": ["ü"]}))
    primitive = primitive_of(*offered)
    assert primitive.contributing_input_ids == tuple(each.id for each in offered)
    assert [append.role for append in primitive.appends] == ["user"] * 3
    assert primitive.appends[0] == Append(input_id=offered[0].id, content="one", text="one")
    assert json.loads(json.dumps(primitive.appends[2].content)) == {"b": 1, "a": ["ü"]}
    assert primitive.text == 'one\n\ntwo\n\n{"a":["ü"],"b":1}'
    assert primitive.context_appends == ()
    assert primitive.boundary is RunBoundary.RUN_START
    assert primitive.execution_kind is ExecutionKind.CONTENT_TURN


def test_blocks_give_their_texts() -> None:
    blocks = [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]
    assert primitive_of(PromptInput(blocks)).text == "a\nb"


def test_a_continuation_resumes_and_appends_nothing() -> None:
    primitive = primitive_of(continuation())
    assert primitive.execution_kind is ExecutionKind.RESUME_PENDING
    assert (primitive.appends, primitive.text) == ((), "")
    assert primitive.boundary is RunBoundary.RUN_CHECKPOINT


def test_an_operation_adds_no_message() -> None:
    assert staged_input(RunBoundary.RUN_START, [operation()]).appends == ()


def test_metadata_of_a_batch_is_merged() -> None:
    primitive = primitive_of(
        step(turn_metadata={"model": "m", "tags": ["a"]}),
        step(turn_metadata={"tags": ["b", "a"], "provider": "p"}),
        message(),
    )
    assert primitive.turn_metadata == {"model": "m", "tags": ("a", "b", "a"), "provider": "p"}
    assert primitive_of(message()).turn_metadata is None


def test_merging_changes_neither_side() -> None:
    left, right = {"tags": ("a",)}, {"tags": ("b",)}
    assert merge_metadata(left, right) == {"tags": ("a", "b")}
    assert (left, right) == ({"tags": ("a",)}, {"tags": ("b",)})
    assert merge_metadata(None, None) is None


def test_queue_mode_never_splits_a_batch() -> None:
    keyed = [message(supersession_key=key) for key in ("a", "b")]
    assert DEFAULT_POLICY.resolve(keyed[0], running=False).queue_mode is QueueMode.SUPERSEDE
    assert first_batch(*keyed, message()) == [0, 1, 2]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a", "b"),
        (["a"], "a"),
        ("a", ["a"]),
        (True, False),
        (True, 1),
        (0, False),
        (None, 0),
        ({"n": 1}, {"n": 2}),
        ({"n": [1]}, {"n": [2]}),
        ({"n": True}, {"n": 1}),
    ],
)
def test_lop_13_what_json_tells_apart_is_a_contradiction(first: Any, second: Any) -> None:
    steps = [step(turn_metadata={"x": each, "model": "m"}) for each in (first, second)]
    with pytest.raises(BatchConflict) as refused:
        staged_input(RunBoundary.RUN_START, steps)
    assert refused.value.field == "x"
    assert refused.value.code == "batch_conflict"
    assert first_batch(*steps) == [0]


@pytest.mark.parametrize("value", [None, "", 0, False, {"n": [1]}, 1.5])
def test_lop_13_what_is_said_twice_is_said_once(value: Any) -> None:
    steps = [step(turn_metadata={"x": value}) for _ in range(3)]
    assert first_batch(*steps) == [0, 1, 2]
    merged = staged_input(RunBoundary.RUN_START, steps).turn_metadata
    assert merged == steps[0].turn_metadata


def test_lists_accumulate_over_a_whole_batch_in_its_order() -> None:
    steps = [step(turn_metadata={"tags": tags}) for tags in (["a"], [], ["b", "a"], ["c"])]
    assert primitive_of(*steps).turn_metadata == {"tags": ("a", "b", "a", "c")}


def test_a_steered_batch_agrees_on_its_handling_mode() -> None:
    """Every steered prompt says so; what they say besides is merged."""
    primitive = primitive_of(
        steer(prompt, turn_metadata={"model": "m"}), steer(prompt, turn_metadata={"tags": ["a"]})
    )
    assert primitive.turn_metadata == {"handling_mode": "steer", "model": "m", "tags": ("a",)}
