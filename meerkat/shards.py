"""Shards: which of so many equal parts a runtime belongs to.

Rendezvous hashing (Thaler and Ravishankar, "Using name-based mappings to increase hit rates",
IEEE/ACM Transactions on Networking 6(1), 1998): each part draws a number for the runtime, and
the highest has it. Where their count goes from n to n + 1, one runtime in n + 1 moves, and all
of those move to the new part.
"""

from __future__ import annotations

from hashlib import blake2b

from attrs import field, frozen, validators

from meerkat.identifiers import LogicalRuntimeId


def shard_of(runtime_id: LogicalRuntimeId, shards: int) -> int:
    """The number of a runtime's shard, from 0. The same in every process and release."""
    name = runtime_id.value.encode(errors="surrogatepass")
    return max(range(shards), key=lambda number: (_drawn(number, name), number))


def _drawn(number: int, name: bytes) -> bytes:
    return blake2b(name, digest_size=8, salt=number.to_bytes(8, "big")).digest()


@frozen(kw_only=True)
class Shard:
    """One of the equal parts that the runtimes of a database are divided into."""

    number: int = field(validator=validators.ge(0))
    """Which of them, from 0."""
    of: int = field(validator=validators.ge(1))
    """How many there are."""

    def __attrs_post_init__(self) -> None:
        if self.number >= self.of:
            raise ValueError(f"there is no shard {self.number} of {self.of}: they count from 0")

    def __contains__(self, runtime_id: LogicalRuntimeId) -> bool:
        return shard_of(runtime_id, self.of) == self.number

    def __str__(self) -> str:
        return f"shard {self.number} of {self.of}"
