"""Sources: what the page shows. A store that anybody may own, or a plane that runs here.

Both read what is stored, in the same way. Of a plane there is more: what it does just now, and
what it can be told to do.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

from actors.aio import AsyncControlPlane, AsyncSubscription
from actors.by_hand import done_by, done_by_hand
from actors.control_plane import ControlPlane
from actors.dashboard.answers import not_live
from actors.facts import Facts, value_facts
from actors.metrics import Measured
from actors.verbs import Verb
from meerkat.errors import ControlPlaneStopped, RuntimeNotFound
from meerkat.identifiers import LogicalRuntimeId
from meerkat.store import RuntimeStore, SqliteStore
from meerkat.store.ownership import said_owner
from meerkat.store.protocol import is_store

ACT_TIMEOUT_S: Final = 30.0
"""How long an answer to an action is waited for; the work goes on."""


class Source(Protocol):
    """What the page shows. Thread-safe; all but ``events`` may block on the disk."""

    @property
    def live(self) -> bool:
        """Does something run behind it?"""
        ...

    @property
    def store(self) -> RuntimeStore:
        """Where everything is read from; ControlPlaneStopped when that is over."""
        ...

    def owner(self) -> str | None:
        """Who may write, as far as it is known."""
        ...

    def figures(self) -> Facts | None:
        """The plane's figures; None of a store."""
        ...

    def measured(self) -> Measured:
        """What has the figures; refused of a store."""
        ...

    def runs(self) -> Mapping[str, Facts]:
        """The runs in hand, by runtime."""
        ...

    def supervision(self) -> Facts:
        """The tree of what is kept running."""
        ...

    async def events(
        self, runtime_id: LogicalRuntimeId | None, after: int | None
    ) -> AsyncSubscription:
        """What happens from now on, or above ``after``."""
        ...

    def act(self, verb: Verb, runtime_id: LogicalRuntimeId, /, **inputs: Any) -> Facts:
        """Do it, to the inputs that are picked if any are, and give its report."""
        ...


class StoreSource:
    """A store, which is its maker's to close."""

    live = False

    def __init__(self, store: RuntimeStore) -> None:
        self.store = store
        self._acting = threading.Lock()  # two at once would refuse each other

    def owner(self) -> str | None:
        """As its file says: to ask for more would get in the way of who wants to own it."""
        return said_owner(self.store.path) if isinstance(self.store, SqliteStore) else None

    def figures(self) -> Facts | None:
        """None."""
        return None

    def measured(self) -> Measured:
        """Refused."""
        raise not_live()

    def runs(self) -> Mapping[str, Facts]:
        """None are known."""
        return {}

    def supervision(self) -> Facts:
        """Refused."""
        raise not_live()

    async def events(
        self, _runtime_id: LogicalRuntimeId | None, _after: int | None
    ) -> AsyncSubscription:
        """Refused."""
        raise not_live()

    def act(self, verb: Verb, runtime_id: LogicalRuntimeId, /, **inputs: Any) -> Facts:
        """Take a database file over for the one call; StoreInUse names a process that owns it.

        Any other store is refused: who else has it cannot be known.
        """
        if not isinstance(self.store, SqliteStore):
            raise not_live()
        if self.store.load_runtime(runtime_id) is None:  # nor is a file made
            raise RuntimeNotFound(runtime_id)
        another = SqliteStore(self.store.path)
        with self._acting:
            return done_by_hand(another, verb, runtime_id, timeout=ACT_TIMEOUT_S, **inputs)


class PlaneSource:
    """A control plane of this process, whose coming and going is its host's."""

    live = True

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane

    @property
    def store(self) -> RuntimeStore:
        """The store that the plane owns."""
        system = self._plane._life.system  # noqa: SLF001 - what is read beside it
        if system.closing.is_set():  # a read would open it again
            raise ControlPlaneStopped
        return system.store

    def owner(self) -> str | None:
        """The process that serves the page."""
        return "this process"

    def figures(self) -> Facts | None:
        """The plane's figures."""
        figures: Facts = value_facts(self._plane.figures())
        return figures

    def measured(self) -> Measured:
        """The plane."""
        return self._plane

    def runs(self) -> Mapping[str, Facts]:
        """The runs in hand, by runtime: of several, which it has gone on without, the last."""
        return {str(run.runtime_id): value_facts(run) for run in self._plane.runs_in_hand()}

    def supervision(self) -> Facts:
        """The tree of what is kept running."""
        tree: Facts = value_facts(self._plane.supervision())
        return tree

    async def events(
        self, runtime_id: LogicalRuntimeId | None, after: int | None
    ) -> AsyncSubscription:
        """What happens from now on, or above ``after``."""
        doors = await AsyncControlPlane.wrap(self._plane)
        return await doors.subscribe(runtime_id, after).opened()

    def act(self, verb: Verb, runtime_id: LogicalRuntimeId, /, **inputs: Any) -> Facts:
        """Do it, and give its report."""
        return done_by(self._plane, verb, runtime_id, timeout=ACT_TIMEOUT_S, **inputs)


Shown: TypeAlias = ControlPlane | AsyncControlPlane | RuntimeStore
"""What a page can be made of."""


def source_of(shown: Shown) -> Source:
    """The source behind it; TypeError for anything else."""
    if isinstance(shown, AsyncControlPlane):
        return PlaneSource(shown._plane)  # noqa: SLF001 - the same door without the loop
    if isinstance(shown, ControlPlane):
        return PlaneSource(shown)
    if is_store(shown):
        return StoreSource(shown)
    raise TypeError(f"a page is of a ControlPlane or a RuntimeStore, not {type(shown).__name__}")


def name_of(store: RuntimeStore) -> str:
    """The store as it is named on a command line."""
    path = _path_of(store)
    return type(store).__name__ if path is None else f"sqlite:///{path}"


def database_behind(shown: Shown) -> Path | None:
    """The file of a plane's database; None of a store alone, which somebody else may own."""
    return None if is_store(shown) else _path_of(source_of(shown).store)


def _path_of(store: RuntimeStore) -> Path | None:
    """The file of a store that has one; what is put around such a store passes it on."""
    path = getattr(store, "path", None)
    return path if isinstance(path, Path) else None
