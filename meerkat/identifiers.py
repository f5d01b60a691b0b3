"""Identifiers: the words things are called by.

Every sort of identifier is a type of its own, and none equals another: a run id is never
an input id, whatever UUID it carries. UUID identifiers are minted as version 7 and can be
built from any UUID. They name; they never order. Order comes from the sequence numbers a
driver assigns.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Final, Self
from uuid import UUID

from attrs import frozen

from meerkat.minting import fresh_uuid

NAMED_KEY_CHARS_MAX: Final = 512
"""Longest idempotency or supersession key, in characters."""

_SHOWN_CHARS_MAX: Final = 80
"""So much of a text that is no id is named in the error."""

_RUNTIME_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/-]{0,254}")
_UUID_TEXT: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@frozen(eq=False, repr=False, init=False)
class UuidIdentifier:
    """A UUID under a name of its own.

    Raises TypeError for anything but a ``uuid.UUID``. Immutable, hashable, safe to share.
    It is kept as its text, which is what is compared, stored and told.
    """

    _text: str

    def __init__(self, value: UUID) -> None:
        if not isinstance(value, UUID):
            raise TypeError(f"{type(self).__name__} takes a UUID, not {type(value).__name__}")
        object.__setattr__(self, "_text", str(value))

    @property
    def value(self) -> UUID:
        """The UUID itself."""
        return UUID(self._text)

    @classmethod
    def new(cls) -> Self:
        """Mint a fresh identifier (UUID version 7). Thread-safe."""
        return cls(fresh_uuid())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text form, lower-case and hyphenated; ValueError for any other."""
        if not isinstance(text, str) or not _UUID_TEXT.fullmatch(text):
            raise ValueError("expected a lower-case hyphenated UUID")
        parsed = cls.__new__(cls)
        object.__setattr__(parsed, "_text", str(text))
        return parsed

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._text})"

    def __eq__(self, other: object) -> bool:
        if type(other) is type(self):
            return self._text == other._text
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self._text)


class InputId(UuidIdentifier):
    """Names one input, for ever."""

    __slots__ = ()


class RunId(UuidIdentifier):
    """Names one attempt of an executor at a batch of inputs."""

    __slots__ = ()


class RuntimeEventId(UuidIdentifier):
    """Names one event envelope."""

    __slots__ = ()


class OperationId(UuidIdentifier):
    """Names one asynchronous operation of a session."""

    __slots__ = ()


class WaitRequestId(UuidIdentifier):
    """Names one wait for several operations."""

    __slots__ = ()


class ConversationId(UuidIdentifier):
    """Names one conversation."""

    __slots__ = ()


class CausationId(UuidIdentifier):
    """Names the input or event that caused another."""

    __slots__ = ()


class CorrelationId(UuidIdentifier):
    """Ties together everything that belongs to one exchange."""

    __slots__ = ()


class RuntimeEpochId(UuidIdentifier):
    """Names one epoch of a runtime: the time between two resets."""

    __slots__ = ()


class SessionId(UuidIdentifier):
    """Names one agent session."""

    __slots__ = ()


@frozen(eq=False, repr=False)
class TextIdentifier:
    """A string under a name of its own. Immutable, hashable, safe to share."""

    value: str

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.value, str):
            given = type(self.value).__name__
            raise TypeError(f"{type(self).__name__} takes a string, not {given}")
        self._check(self.value)

    def _check(self, text: str) -> None:
        raise TypeError(f"use one of the named identifiers for {text[:40]!r}")

    def __str__(self) -> str:
        return self.value

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.value!r})"

    def __eq__(self, other: object) -> bool:
        if type(other) is type(self):
            return self.value == other.value
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.value)


class LogicalRuntimeId(TextIdentifier):
    """Names one logical runtime: ``[A-Za-z0-9][A-Za-z0-9._:@/-]{0,254}``.

    Raises TypeError for anything but a string and ValueError outside the grammar. It is
    never used as a path.
    """

    __slots__ = ()

    def _check(self, text: str) -> None:
        if not _RUNTIME_ID.fullmatch(text):
            cut = len(text) > _SHOWN_CHARS_MAX
            whole = f"… of {len(text)} characters" if cut else ""
            raise ValueError(
                f"bad runtime id {text[:_SHOWN_CHARS_MAX]!r}{whole}: it must start with a "
                "letter or digit and hold 1 to 255 characters of A-Z a-z 0-9 . _ : @ / -"
            )

    @classmethod
    def for_session(cls, session_id: SessionId) -> Self:
        """The runtime id of a session that was given none: ``rt:session:<uuid>``."""
        return cls(f"rt:session:{session_id}")


class _NamedKey(TextIdentifier):
    __slots__ = ()

    def _check(self, text: str) -> None:
        if not 1 <= len(text) <= NAMED_KEY_CHARS_MAX:
            raise ValueError(
                f"{type(self).__name__} holds 1 to {NAMED_KEY_CHARS_MAX} characters, "
                f"not {len(text)}"
            )


class IdempotencyKey(_NamedKey):
    """Names at most one input of a runtime, for ever. 1 to 512 characters."""

    __slots__ = ()


class SupersessionKey(_NamedKey):
    """Scopes which later input replaces a waiting one. 1 to 512 characters."""

    __slots__ = ()


@frozen(repr=False)
class PolicyVersion:
    """Which edition of a policy table made a decision: an unsigned integer."""

    value: int = 1

    def __attrs_post_init__(self) -> None:
        if type(self.value) is not int:
            raise TypeError(f"a policy version is an int, not {type(self.value).__name__}")
        if self.value < 0:
            raise ValueError("a policy version is never negative")

    def __str__(self) -> str:
        return str(self.value)

    def __repr__(self) -> str:
        return f"PolicyVersion({self.value})"


def as_runtime_id(value: LogicalRuntimeId | str) -> LogicalRuntimeId:
    """Take a runtime id as itself or as its text; TypeError and ValueError as above."""
    if isinstance(value, LogicalRuntimeId):
        return value
    return _runtime_id(value) if type(value) is str else LogicalRuntimeId(value)


def as_runtime_ids(values: Iterable[LogicalRuntimeId | str]) -> list[LogicalRuntimeId]:
    """Take many; TypeError for one text too, whose letters would be ids."""
    if isinstance(values, str):
        raise TypeError("runtime ids come as a collection, not as one text")
    return [as_runtime_id(each) for each in values]


_runtime_id: Final = functools.lru_cache(maxsize=4096)(LogicalRuntimeId)
"""A host calls the same few runtimes by their text again and again."""
