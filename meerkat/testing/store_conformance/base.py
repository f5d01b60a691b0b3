"""What a case stands on: a store that is empty, the place it keeps things at, and what it can do.

A case that needs what the store does not say it can is skipped, and says what it would have
needed. Nothing here knows what is promised: that stands in the modules beside this one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

import pytest

from meerkat.identifiers import InputId, LogicalRuntimeId
from meerkat.store import RuntimeStore
from meerkat.words import Word

Case = TypeVar("Case", bound=Callable[..., Any])
OpenAgain = Callable[[], RuntimeStore]

_NEEDS: Final = "store_needs"


class StoreCapability(Word):
    """What a store may be able to do beyond the protocol's promises to one instance of it."""

    DURABLE = "durable"
    """What was committed is there for the next instance that opens the same place."""

    OWNS = "owns"
    """While one instance owns a place, ``acquire`` of a second one is refused."""

    READERS = "readers"
    """A second instance reads what was committed while the first is open, and owns the place."""

    SURVIVES_KILL = "survives kill"
    """A commit that has returned is there after SIGKILL, and none is half there. POSIX."""

    NOTICES_DAMAGE = "notices damage"
    """A row that cannot be read is RecoveryCorruption; the class has ``spoil_input``."""

    COPIES = "copies"
    """It can be copied and copied into: it has the calls of ``CopyableStore``."""


def needs(*capabilities: StoreCapability) -> Callable[[Case], Case]:
    """Skip a case for the stores that do not have all of these."""

    def marked(case: Case) -> Case:
        setattr(case, _NEEDS, frozenset(capabilities))
        return case

    return marked


class StoreCases:
    """The base of all cases: opens the store anew for each."""

    capabilities: ClassVar[Collection[StoreCapability]] = ()
    """What the store can do beyond the protocol; the cases of the others are skipped."""

    is_store_conformance: ClassVar[bool] = False
    """What the pytest plugin knows a class of cases by, without importing this module."""

    def __init_subclass__(cls, **options: Any) -> None:
        """ValueError for a capability that is none, where the class is written."""
        super().__init_subclass__(**options)
        known = frozenset(map(str, StoreCapability))
        unknown = sorted(str(each) for each in cls.capabilities if str(each) not in known)
        if unknown:
            told = f"{cls.__name__} has capabilities that there are not: {', '.join(unknown)}"
            raise ValueError(f"{told}; there are {', '.join(sorted(known))}")

    @classmethod
    def has(cls) -> frozenset[StoreCapability]:
        """The capabilities of the store."""
        return frozenset(map(StoreCapability, cls.capabilities))

    @classmethod
    def missing_for(cls, case: object) -> list[str]:
        """The capabilities that a case needs and the store does not have, by name."""
        return sorted(str(each) for each in getattr(case, _NEEDS, frozenset()) - cls.has())

    # --- what a store's author writes ---------------------------------------------------

    def open_store(self, place: Path) -> RuntimeStore:
        """Make the store that keeps things at ``place``.

        ``place`` is a folder of the case's own, empty at first. Two stores that are opened at
        one place are two instances over the same data; what is no file may take its name.
        The case closes what it has opened.
        """
        raise NotImplementedError(f"{type(self).__name__} says how its store is opened")

    def spoil_input(self, place: Path, runtime_id: LogicalRuntimeId, input_id: InputId) -> None:
        """Make the stored row of an input unreadable, behind the store's back.

        It is closed meanwhile. For stores with ``StoreCapability.NOTICES_DAMAGE``.
        """
        raise NotImplementedError(f"{type(self).__name__} says how a row of its store is spoilt")

    # --- what a case is given -----------------------------------------------------------

    @pytest.fixture(autouse=True)
    def _skipped_without_its_capabilities(self, request: pytest.FixtureRequest) -> None:
        missing = self.missing_for(request.function)
        if missing:
            pytest.skip(f"the store does not say that it can: {', '.join(missing)}")

    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        """Where the store of this case keeps things."""
        place = tmp_path / "place"
        place.mkdir()
        return place

    @pytest.fixture
    def open_again(self, place: Path) -> Iterator[OpenAgain]:
        """Opens one more instance over the same data; all are closed at the end."""
        with ExitStack() as opened:

            def again() -> RuntimeStore:
                store = self.open_store(place)
                opened.callback(store.close)
                return store

            yield again

    @pytest.fixture
    def store(self, open_again: OpenAgain) -> RuntimeStore:
        """The store of this case, empty."""
        return open_again()
