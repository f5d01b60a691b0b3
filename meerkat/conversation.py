"""Conversation: the committed messages of a session, and what a run does to them.

Messages are kept as canonical JSON bytes, so that nobody who is handed them can change
what was committed. A list that extends the committed one is stored as the new messages
alone, and its digest is carried forward, so that a long session costs what its new
messages cost.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from attrs import field, frozen

from meerkat.json_values import ENVELOPE, JsonValue, canonical, check

if TYPE_CHECKING:
    from meerkat.runs import RunOutput

Message: TypeAlias = Mapping[str, JsonValue]


@frozen(kw_only=True)
class SessionSnapshot:
    """What was committed last: the message list as canonical JSON, and the opaque bytes."""

    messages: bytes = field(default=b"[]", repr=False)
    message_count: int = 0
    opaque: bytes | None = field(default=None, repr=False)


@frozen
class AppendMessages:
    """Store new messages behind the first ``position`` committed ones.

    ``body`` is their canonical JSON array.
    """

    position: int
    count: int
    body: bytes = field(repr=False)


@frozen
class RewriteMessages:
    """Store a whole new message list. ``body`` is its canonical JSON array."""

    count: int
    body: bytes = field(repr=False)


@frozen
class ReplaceSnapshot:
    """Store opaque bytes in the place of the last ones."""

    data: bytes = field(repr=False)


SessionChange: TypeAlias = AppendMessages | RewriteMessages | ReplaceSnapshot


@frozen
class Plan:
    """What a run's output does to the conversation, and what its receipt says of it."""

    change: SessionChange | None
    digest: str | None
    message_count: int


_EMPTY: Final = b"[]"


def decoded(committed: SessionSnapshot) -> list[dict[str, Any]]:
    """A fresh copy of the messages of a snapshot; the caller may do with it as it likes."""
    messages: list[dict[str, Any]] = json.loads(committed.messages)
    return messages


def digest_of(messages: bytes) -> str:
    """Lower-case hex SHA-256 of a message list's canonical JSON."""
    return hashlib.sha256(messages).hexdigest()


class MessageLog:
    """Committed messages, kept where no store keeps them. Not thread-safe."""

    __slots__ = ("_bodies", "_count", "_opaque")

    def __init__(self, committed: SessionSnapshot | None = None) -> None:
        committed = committed or SessionSnapshot()
        self._bodies = [committed.messages[1:-1]] if committed.message_count else []
        self._count = committed.message_count
        self._opaque = committed.opaque

    @property
    def message_count(self) -> int:
        """How many messages are kept."""
        return self._count

    def apply(self, change: SessionChange | None) -> None:
        """Take over a committed change."""
        match change:
            case AppendMessages(count=count, body=body):
                self._bodies.append(body[1:-1])
                self._count += count
            case RewriteMessages(count=count, body=body):
                self._bodies = [body[1:-1]] if count else []
                self._count = count
            case ReplaceSnapshot(data=data):
                self._opaque = data
            case None:
                pass

    def snapshot(self) -> SessionSnapshot:
        """What is committed."""
        body = b"[" + b",".join(self._bodies) + b"]"
        return SessionSnapshot(messages=body, message_count=self._count, opaque=self._opaque)


class Conversation:
    """What a runtime carries of its session from run to run: a count and a running hash.

    The messages themselves stay where ``read`` finds them, and are fetched when somebody
    asks; a long session takes no more memory than a short one. Owned by one run, or by the
    driver between two runs; not thread-safe.
    """

    __slots__ = ("_count", "_has_opaque", "_hash", "_read")

    def __init__(
        self,
        read: Callable[[], SessionSnapshot | None],
        committed: SessionSnapshot | None = None,
    ) -> None:
        self._read = read
        self._restart(committed or self.committed())

    def committed(self) -> SessionSnapshot:
        """What was committed last."""
        return self._read() or SessionSnapshot()

    def _restart(self, snapshot: SessionSnapshot) -> None:
        self._count = snapshot.message_count
        self._hash = hashlib.sha256(snapshot.messages[:-1])
        self._has_opaque = snapshot.opaque is not None

    @property
    def message_count(self) -> int:
        """How many messages are committed."""
        return self._count

    def messages(self) -> list[dict[str, Any]]:
        """A fresh copy of the committed messages; the caller may do with it as it likes."""
        return decoded(self.committed())

    def digest(self) -> str:
        """The digest of the committed message list."""
        return self._digest_with(b"")

    def plan(
        self, output: RunOutput, committed: Callable[[], SessionSnapshot] | None = None
    ) -> Plan:
        """Work out what an output does; ValueError for messages JSON cannot carry.

        Changes nothing: :meth:`apply` does, once the plan is part of a commit.
        ``committed`` gives what is committed, where the caller has it at hand.
        """
        plan = self._plan(output, committed or self.committed)
        if output.conversation_digest is None and output.message_count is None:
            return plan
        return Plan(
            plan.change,
            output.conversation_digest or plan.digest,
            plan.message_count if output.message_count is None else output.message_count,
        )

    def _plan(self, output: RunOutput, committed: Callable[[], SessionSnapshot]) -> Plan:
        if output.snapshot is not None:
            return Plan(ReplaceSnapshot(output.snapshot), None, 0)
        if output.append is not None:
            return self._extended(_array(output.append), len(output.append))
        if output.messages is not None:
            return self._replaced(_array(output.messages), len(output.messages), committed)
        if self._has_opaque and not self._count:
            return Plan(None, None, 0)
        return Plan(None, self.digest(), self._count)

    def _extended(self, body: bytes, count: int) -> Plan:
        if not count:
            return Plan(None, self.digest(), self._count)
        change = AppendMessages(self._count, count, body)
        return Plan(change, self._digest_with(body[1:-1]), self._count + count)

    def _replaced(self, body: bytes, count: int, read: Callable[[], SessionSnapshot]) -> Plan:
        """A whole list: new messages alone when it extends the committed one."""
        if not self._count:
            return self._extended(body, count)
        committed = read().messages
        if body == committed:
            return Plan(None, self.digest(), self._count)
        if body.startswith(committed[:-1] + b","):
            return self._extended(b"[" + body[len(committed) :], count - self._count)
        return Plan(RewriteMessages(count, body), digest_of(body), count)

    def _digest_with(self, more: bytes) -> str:
        state = self._hash.copy()
        if more:
            state.update(b"," + more if self._count else more)
        state.update(b"]")
        return state.hexdigest()

    def apply(self, change: SessionChange | None) -> None:
        """Take over what a plan changes."""
        match change:
            case AppendMessages(count=count, body=body):
                self._hash.update(b"," + body[1:-1] if self._count else body[1:-1])
                self._count += count
            case RewriteMessages(count=count, body=body):
                self._restart(
                    SessionSnapshot(
                        messages=body,
                        message_count=count,
                        opaque=b"" if self._has_opaque else None,
                    )
                )
            case ReplaceSnapshot():
                self._has_opaque = True
            case None:
                pass


def _array(messages: Sequence[Message]) -> bytes:
    if not messages:
        return _EMPTY
    check(messages, "messages", ENVELOPE)
    return canonical(list(messages))
