"""Minting: fresh UUIDs of version 7 (RFC 9562, section 5.7), and the time on fresh values.

48 bits of Unix time in milliseconds, then version, variant and 74 bits of the operating
system's entropy. The entropy is bought for many at a time: each purchase is a system call
that lets go of the interpreter lock, and in a busy process it costs several times the rest.
Nothing is counted up within a millisecond, as ``uuid6.uuid7`` does: in a burst its times run
ahead of the clock, and nobody orders by an id.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final, Protocol
from uuid import UUID

import uuid6

_BYTES: Final = 10
_AT_ONCE: Final = 256

_stock: Final[list[bytes]] = []
os.register_at_fork(after_in_child=_stock.clear)  # parent and child must not mint the same


class Mint(Protocol):
    """Another source of what is minted: in a simulation that is a seed."""

    def uuid(self) -> UUID:
        """A UUID that it has not given before."""
        ...

    def now(self) -> datetime:
        """The time of day, in UTC."""
        ...


_mint: Final[ContextVar[Mint | None]] = ContextVar("meerkat_mint", default=None)


@contextmanager
def minted_by(mint: Mint) -> Iterator[None]:
    """While this lasts, what this thread, or task, makes has its id and its time from there."""
    before = _mint.set(mint)
    try:
        yield
    finally:
        _mint.reset(before)


def stamp() -> datetime:
    """The time of day, in UTC, that a value which is made now is stamped with."""
    mint = _mint.get()
    return datetime.now(UTC) if mint is None else mint.now()


def fresh_uuid() -> UUID:
    """A UUID nobody else has. Thread-safe: taking from and adding to the stock are atomic."""
    mint = _mint.get()
    if mint is not None:
        return mint.uuid()
    try:
        chance = _stock.pop()
    except IndexError:
        entropy = os.urandom(_BYTES * _AT_ONCE)
        chance = entropy[:_BYTES]
        _stock.extend(entropy[at : at + _BYTES] for at in range(_BYTES, len(entropy), _BYTES))
    milliseconds = int(datetime.now(UTC).timestamp() * 1000)
    return uuid6.UUID(int=milliseconds << 80 | int.from_bytes(chance), version=7)
