"""Wire: what a front door and a shard tell each other, as bytes.

Values cross by pickle: both ends are one application, in one version. Each call and each answer
is bytes of its own, so that one that cannot be carried harms no other in its batch.
"""

from __future__ import annotations

import pickle
from typing import Any, Final, TypeAlias

from attrs import frozen

from meerkat.bindings import SessionRuntimeBindings
from meerkat.epoch import EpochCursorSnapshot
from meerkat.errors import InternalError, MeerkatError, StoreError
from meerkat.events import EventGap, RuntimeEventEnvelope
from meerkat.identifiers import RuntimeEpochId, SessionId
from meerkat.outcomes import CompletionOutcome
from meerkat.shards import Shard

CALLS_MAX: Final = 512
"""Calls that one remote call carries: a full group of the journal's."""

BYTES_MAX: Final = 1 << 20
"""Bytes that one carries, unless a single call is larger."""

FEED_WINDOW: Final = 256
"""Events that are on their way to one reader: the others wait at the shard, for it to read."""

Told: TypeAlias = RuntimeEventEnvelope | EventGap | Any
"""What a feed tells: events, and what was missed; or notices."""


@frozen
class Call:
    """One call: its number among those of its front door, its name, its packed arguments."""

    number: int
    name: str
    arguments: bytes


@frozen
class Answer:
    """What a call gives."""

    number: int
    value: Any


@frozen
class Refusal:
    """What a call is refused with, and what that came of: pickle leaves a cause behind."""

    number: int
    error: BaseException
    cause: BaseException | None = None


@frozen
class InputEnded:
    """The end of the input that a call has offered, or asked for; an error if it never began."""

    number: int
    outcome: CompletionOutcome | None
    error: BaseException | None = None


@frozen
class FeedTold:
    """What the feed that a call has asked for tells; ``over`` when nothing comes behind it."""

    number: int
    items: tuple[Told, ...]
    over: bool = False


@frozen
class Over:
    """The shard has stopped: nothing comes behind this."""

    number: int = 0
    """No call's."""


Said: TypeAlias = Answer | Refusal | InputEnded | FeedTold | Over
Numbered: TypeAlias = tuple[int, int, bytes]
"""Something said: its number among all that a front door is told, whose it is, packed."""


@frozen(kw_only=True)
class Welcome:
    """A shard's greeting.

    ``token`` names what it remembers of this front door: another one than before means that it
    has been started anew, and knows of no call. ``trouble`` says why it is not open yet.
    """

    token: str
    shard: Shard
    opened: bool
    trouble: MeerkatError | None = None


@frozen
class FarBindings:
    """What of a session's bindings can cross."""

    session_id: SessionId
    epoch_id: RuntimeEpochId
    cursors: EpochCursorSnapshot


def pack(value: object) -> bytes:
    """The bytes of what both ends know; TypeError for what pickle cannot carry."""
    try:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        raise TypeError(f"it cannot be sent to a shard: {error}") from error


def unpack(packed: bytes) -> Any:
    """The value again."""
    return pickle.loads(packed)  # noqa: S301 - from our own other end, as all that Ray carries


def pack_said(said: Said) -> bytes:
    """The same for the way back: what cannot be carried is told as an error that can."""
    try:
        packed = pickle.dumps(said, pickle.HIGHEST_PROTOCOL)
        if isinstance(said, Refusal | InputEnded):
            unpack(packed)  # an error of a host's may be such that it cannot be made again
    except Exception as error:  # noqa: BLE001 - pickle raises what the value's own code does
        what = said.error if isinstance(said, Refusal | InputEnded) else error
        return pickle.dumps(Refusal(said.number, _carriable(what)), pickle.HIGHEST_PROTOCOL)
    return packed


def unpack_said(call: int, packed: bytes) -> Said:
    """What was said; where it cannot be made here, whoever called is told so."""
    try:
        said: Said = unpack(packed)
    except Exception as error:  # noqa: BLE001 - whatever the value's own code raises
        return Refusal(call, InternalError(f"an answer cannot be made here: {error}"))
    return said


def _carriable(error: BaseException | None) -> MeerkatError:
    return InternalError(f"{type(error).__name__}: {error}")


def far(value: object) -> object:
    """An answer as it can cross."""
    if isinstance(value, SessionRuntimeBindings):
        cursors = value.cursor_state.snapshot()
        return FarBindings(value.session_id, value.epoch_id, cursors)
    return value


def as_trouble(error: BaseException) -> MeerkatError:
    """Why a shard is not open, as an error that can cross."""
    if isinstance(error, MeerkatError):
        return error
    return StoreError(f"{type(error).__name__}: {error}")
