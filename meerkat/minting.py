"""Minting: fresh UUIDs of version 7 (RFC 9562, section 5.7).

48 bits of Unix time in milliseconds, then version, variant and 74 bits of the operating
system's entropy. The entropy is bought for many at a time: each purchase is a system call
that lets go of the interpreter lock, and in a busy process it costs several times the rest.
Nothing is counted up within a millisecond, as ``uuid6.uuid7`` does: in a burst its times run
ahead of the clock, and nobody orders by an id.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Final

from uuid6 import UUID

_BYTES: Final = 10
_AT_ONCE: Final = 256

_stock: Final[list[bytes]] = []
os.register_at_fork(after_in_child=_stock.clear)  # parent and child must not mint the same


def fresh_uuid() -> UUID:
    """A UUID nobody else has. Thread-safe: taking from and adding to the stock are atomic."""
    try:
        chance = _stock.pop()
    except IndexError:
        entropy = os.urandom(_BYTES * _AT_ONCE)
        chance = entropy[:_BYTES]
        _stock.extend(entropy[at : at + _BYTES] for at in range(_BYTES, len(entropy), _BYTES))
    milliseconds = int(datetime.now(UTC).timestamp() * 1000)
    return UUID(int=milliseconds << 80 | int.from_bytes(chance), version=7)
