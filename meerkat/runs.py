"""Runs: what an executor is handed, what it answers, and which inputs go together.

The batch rules are here and nowhere else: the steer lane first; a prompt of the queue lane
alone; otherwise the longest run of neighbours that share boundary and execution kind, never
mixing terminal responses with others, and stopping before an input whose turn metadata
contradicts the batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from attrs import Attribute, field, frozen, validators

from meerkat.checks import unsigned
from meerkat.conversation import Message
from meerkat.errors import BatchConflict
from meerkat.identifiers import InputId, RunId
from meerkat.input_lifecycle import InputState
from meerkat.inputs import ExternalEventInput, FlowStepInput, Input, PeerInput, PromptInput
from meerkat.json_values import JsonValue, canonical, check, own
from meerkat.limits import BATCH_INPUTS_MAX
from meerkat.origins import InputKind
from meerkat.policy import Lane, RunBoundary
from meerkat.words import Word


class ExecutionKind(Word):
    """What an executor is asked for."""

    CONTENT_TURN = "content_turn"
    RESUME_PENDING = "resume_pending"


class WakeReason(Word):
    """Why a waiting executor was woken."""

    TIMEOUT = "timeout"
    STEERED = "steered"
    WORK_WAITING = "work_waiting"
    CANCELLED = "cancelled"


class InterruptMode(Word):
    """When a run in hand is to learn that it is cancelled."""

    AFTER_BOUNDARY = "after_boundary"
    NOW = "now"


@frozen(kw_only=True)
class Append:
    """What one input adds to the conversation, as the executor may use it."""

    input_id: InputId
    role: str = "user"
    content: JsonValue = field(repr=False)
    text: str = field(repr=False)


@frozen(kw_only=True)
class StagedInput:
    """The work of one run. ``text`` is the texts of its inputs, joined by a blank line."""

    boundary: RunBoundary
    appends: tuple[Append, ...]
    context_appends: tuple[Append, ...] = ()
    contributing_input_ids: tuple[InputId, ...]
    turn_metadata: Mapping[str, JsonValue] | None = field(default=None, repr=False)
    execution_kind: ExecutionKind = ExecutionKind.CONTENT_TURN
    inputs: tuple[Input, ...] = field(default=(), repr=False)

    @property
    def text(self) -> str:
        """The texts of the inputs, joined by a blank line."""
        return "\n\n".join(append.text for append in self.appends)


def _rows(value: Sequence[Message] | None) -> tuple[Message, ...] | None:
    if value is None:
        return None
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence):
        raise TypeError(f"messages come as a list, not {type(value).__name__}")
    for message in value:
        if not isinstance(message, Mapping):
            raise TypeError(f"a message is a mapping, not {type(message).__name__}")
    return tuple(own(value))


def _carried(_instance: object, attribute: Attribute[JsonValue], value: JsonValue) -> None:
    if value is not None:
        check(value, attribute.name)
        canonical(value)  # refuses NaN, infinities and lone surrogates


def _text(_instance: object, attribute: Attribute[str], value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{attribute.name} takes a text, not {type(value).__name__}")
    canonical(value)


@frozen(kw_only=True)
class RunOutput:
    """What a run leaves behind: at most one of ``append``, ``messages``, ``snapshot``.

    ``append`` adds messages behind the committed ones, ``messages`` is the whole list,
    ``snapshot`` opaque bytes; with none of them the last commit stays. ``result`` is JSON
    and is kept with the consumed inputs. Raises TypeError for a wrong type, ValueError for
    more than one of the three and for a result JSON cannot carry.
    """

    append: tuple[Message, ...] | None = field(default=None, converter=_rows, repr=False)
    messages: tuple[Message, ...] | None = field(default=None, converter=_rows, repr=False)
    snapshot: bytes | None = field(default=None, repr=False)
    result: JsonValue = field(default=None, converter=own, validator=_carried, repr=False)
    conversation_digest: str | None = field(default=None, validator=validators.optional(_text))
    message_count: int | None = field(default=None, validator=validators.optional(unsigned))

    def __attrs_post_init__(self) -> None:
        if sum(form is not None for form in (self.append, self.messages, self.snapshot)) > 1:
            raise ValueError("give one of append, messages and snapshot, not several")
        if not isinstance(self.snapshot, bytes | None):
            raise TypeError(f"a snapshot is bytes, not {type(self.snapshot).__name__}")


@frozen(kw_only=True)
class RunInHand:
    """The current run of a runtime: whom it works for, and the next receipt's number."""

    run_id: RunId
    contributors: tuple[InputId, ...]
    boundary: RunBoundary
    lane: Lane
    attempt: int
    next_sequence: int = 0
    handed_over: frozenset[InputId] = frozenset()
    """What a boundary has given the executor: it stays as it is until the run has ended."""


# --- what an input adds -----------------------------------------------------------------


def execution_kind(kind: InputKind) -> ExecutionKind:
    """A continuation resumes; everything else is a turn of its own."""
    resumes = kind is InputKind.CONTINUATION
    return ExecutionKind.RESUME_PENDING if resumes else ExecutionKind.CONTENT_TURN


def _text_of(content: JsonValue) -> str:
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, Sequence) else ()
    texts = [block.get("text") for block in blocks if isinstance(block, Mapping)]
    return "\n".join(text for text in texts if isinstance(text, str))


def append_of(input: Input) -> Append | None:  # noqa: A002
    """The user-role message an input stands for; None for one that adds none."""
    if isinstance(input, PromptInput | PeerInput | FlowStepInput):
        content: JsonValue = input.content
        return Append(input_id=input.id, content=content, text=_text_of(content))
    if isinstance(input, ExternalEventInput):
        text = canonical(input.payload).decode()
        return Append(input_id=input.id, content=input.payload, text=text)
    return None


def metadata_of(input: Input) -> Mapping[str, JsonValue] | None:  # noqa: A002
    """The turn metadata of the variants that carry some."""
    return input.turn_metadata if isinstance(input, PromptInput | FlowStepInput) else None


def merge_metadata(
    merged: Mapping[str, JsonValue] | None, more: Mapping[str, JsonValue] | None
) -> Mapping[str, JsonValue] | None:
    """Merge turn metadata: lists accumulate, scalars must agree; BatchConflict if not."""
    if not merged or not more:
        return more or merged
    together = dict(merged)
    for name, value in more.items():
        present = together.get(name)
        if isinstance(present, tuple | list) and isinstance(value, tuple | list):
            together[name] = (*present, *value)
        elif name in together and canonical(present) != canonical(value):  # True is no 1
            raise BatchConflict(name)
        else:
            together[name] = value
    return together


def staged_input(run_boundary: RunBoundary, inputs: Sequence[Input]) -> StagedInput:
    """Build the primitive of a batch; BatchConflict names the field its inputs disagree on."""
    kind = execution_kind(inputs[0].kind)
    metadata: Mapping[str, JsonValue] | None = None
    for each in inputs:
        if execution_kind(each.kind) is not kind:
            raise BatchConflict("execution_kind")
        metadata = merge_metadata(metadata, metadata_of(each))
    appends = [append_of(each) for each in inputs]
    return StagedInput(
        boundary=run_boundary,
        appends=tuple(append for append in appends if append is not None),
        contributing_input_ids=tuple(each.id for each in inputs),
        turn_metadata=metadata,
        execution_kind=kind,
        inputs=tuple(inputs),
    )


# --- which inputs go together -----------------------------------------------------------

_ALONE: Final = InputKind.PROMPT
_APART: Final = InputKind.PEER_RESPONSE_TERMINAL


def select_batch(lane: Lane, waiting: Iterable[InputState]) -> tuple[InputState, ...]:
    """The inputs of a lane, in its order, that the next run takes in hand together."""
    batch: list[InputState] = []
    metadata: Mapping[str, JsonValue] | None = None
    for state in waiting:
        if state.input is None:
            break
        if batch and not _joins(lane, batch[0], state):
            break
        try:
            metadata = merge_metadata(metadata, metadata_of(state.input))
        except BatchConflict:
            break
        batch.append(state)
        if len(batch) == BATCH_INPUTS_MAX:
            break
        if lane is Lane.QUEUE and state.input.kind is _ALONE:
            break
    return tuple(batch)


def _joins(lane: Lane, first: InputState, state: InputState) -> bool:
    head, candidate = first.input, state.input
    if head is None or candidate is None or first.policy is None or state.policy is None:
        return False
    if (head.kind is _APART) != (candidate.kind is _APART):
        return False
    if execution_kind(head.kind) is not execution_kind(candidate.kind):
        return False
    if lane is Lane.QUEUE:
        return candidate.kind is not _ALONE
    return first.policy.boundary is state.policy.boundary
