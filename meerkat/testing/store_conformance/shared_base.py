"""What a case of a shared store stands on: stores of several owners over one place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from meerkat.input_lifecycle import InputPhase
from meerkat.policy import DEFAULT_POLICY
from meerkat.shards import Shard
from meerkat.store import InputRow
from meerkat.store.sharing import SharedStore, Sharing
from meerkat.testing.store_conformance.base import StoreCases
from meerkat.testing.store_rows import prompt, row_of

LONG_S: Final = 3_600.0
"""A lease that no slow machine lets run out in a case; cases end one by hand."""

WAIT_S: Final = 120.0

Joined = Callable[..., SharedStore]
Ended = Callable[[str], None]


def offer(number: int, key: str | None = None, **header: Any) -> InputRow:
    """An input as it is offered: accepted, and with a decision."""
    offered = prompt(number, key, **header)
    policy = DEFAULT_POLICY.resolve(offered, running=False)
    return row_of(offered, InputPhase.ACCEPTED, policy=policy)


def kinds(answers: list[Any]) -> list[type]:
    """What sort of answers they are."""
    return [type(each) for each in answers]


class SharedCases(StoreCases):
    """The base of the cases of a shared store."""

    # --- what a store's author writes ---------------------------------------------------

    def open_shared(self, place: Path, sharing: Sharing) -> SharedStore:
        """Make the store of one of several processes that share what is kept at ``place``.

        It has acquired nothing. The case closes what it has opened.
        """
        raise NotImplementedError(f"{type(self).__name__} says how its store is shared")

    def end_lease(self, place: Path, name: str) -> None:
        """Have the lease of an owner be over, as when nothing was heard of it for so long."""
        raise NotImplementedError(f"{type(self).__name__} says how a lease of its store ends")

    # --- what a case is given -----------------------------------------------------------

    @pytest.fixture
    def opened(self, place: Path) -> Iterator[Joined]:
        """Opens the store of one more process, that has acquired nothing."""
        with ExitStack() as stores:

            def opened(name: str | None = None, *, shard: Shard | None = None) -> SharedStore:
                sharing = Sharing(name=name, lease_s=LONG_S, shard=shard)
                store = self.open_shared(place, sharing)
                stores.callback(store.close)
                return store

            yield opened

    @pytest.fixture
    def joined(self, opened: Joined) -> Joined:
        """The same, and it is one of the owners."""

        def joined(name: str | None = None, **how: Any) -> SharedStore:
            store = opened(name, **how)
            store.acquire()
            return store

        return joined

    @pytest.fixture
    def ended(self, place: Path) -> Ended:
        """Ends the lease of an owner."""
        return lambda name: self.end_lease(place, name)
