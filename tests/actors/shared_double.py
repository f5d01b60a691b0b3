"""A shared store in memory: several owners of one ``MemoryStore``, whose leases a test ends.

What PostgreSQL does by locks and a clock happens here under one lock and when a test says so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, TypeVar

from plane_builders import WAIT_S, Agent, OpenPlane

from actors.light import LightCondition
from meerkat import (
    Accepted,
    AcceptOutcome,
    Deduplicated,
    InputId,
    InputPhase,
    InputState,
    LogicalRuntimeId,
    RunId,
    RuntimeState,
)
from meerkat.errors import (
    Overloaded,
    OwnedElsewhere,
    RuntimeDestroyed,
    RuntimeNotFound,
    RuntimeNotReady,
    RuntimeUnavailable,
    StoreError,
)
from meerkat.shards import Shard
from meerkat.store import Batch, InputRow, MemoryStore, Page, Pruned
from meerkat.store.sharing import Sharing
from meerkat.testing.store_wrapper import StoreWrapper

T = TypeVar("T")

LONG_S = 3_600.0
"""A lease that no test outlasts: it is over when the test says so."""

_TAKES_NONE = frozenset({RuntimeState.INITIALIZING, RuntimeState.RETIRED, RuntimeState.STOPPED})


class SharedMemory:
    """One database, and who has which of its runtimes. Thread-safe."""

    def __init__(self) -> None:
        self.inner = MemoryStore()
        self.lock = threading.RLock()
        self.owners: dict[LogicalRuntimeId, SharedView] = {}
        self.views: list[SharedView] = []
        self.joined = 0

    def view(self, name: str, *, lease_s: float = LONG_S, shard: Shard | None = None) -> SharedView:
        """The store of one more process."""
        return self.joining(Sharing(name=name, lease_s=lease_s, shard=shard))

    def joining(self, sharing: Sharing) -> SharedView:
        """The same, as it is to take part."""
        view = SharedView(self, sharing)
        self.views.append(view)
        return view

    def has(self, runtime_id: str, view: SharedView) -> bool:
        with self.lock:
            return self.owners.get(LogicalRuntimeId(runtime_id)) is view and view.lives

    def hint(self, *but: SharedView) -> None:
        for view in self.views:
            if view not in but:
                view.hint()


class SharedView(StoreWrapper):
    """The database as one process has it. ``lives``: its lease is not over."""

    def __init__(self, database: SharedMemory, sharing: Sharing) -> None:
        super().__init__(database.inner)
        self.database = database
        self.sharing = sharing
        self.lives = False
        self.number = 0
        """Which of all that have joined it is; 0 for one that has not."""
        self.replaced = False
        """Has another one come under its name?"""
        self.deaf = False
        """Does it miss every hint?"""
        self.dead = False
        """Is its process gone? Then every call fails."""
        self.looks: SimpleQueue[str | None] = SimpleQueue()
        """A page of what can be adopted was asked for, behind this."""
        self._hinted = LightCondition()
        self._hint = False
        self._hurried = False

    # --- what a test does -----------------------------------------------------------------

    def lose_lease(self) -> None:
        """Its lease is over, though its process goes on."""
        with self.database.lock:
            self.lives = False
        self.database.hint(self)

    def die(self) -> None:
        """Its process is gone, and its lease is over."""
        self.dead = True
        self.lose_lease()

    def hint(self) -> None:
        """There may be something new."""
        if not self.deaf:
            with self._hinted:
                self._hint = True
                self._hinted.notify_all()

    # --- what a store does ----------------------------------------------------------------

    def around(self, method: str, call: Callable[[], T]) -> T:
        if self.dead and method != "close":
            raise StoreError("the process is gone")
        return call()

    def acquire(self) -> None:
        with self.database.lock:
            if self.number:
                raise StoreError("it has joined already")
            self._refuse_other_shards()
            for view in self.database.views:
                named = self.sharing.name is not None and view.sharing.name == self.sharing.name
                if named and view.number and view is not self:
                    view.lives, view.replaced = False, True
            self.database.joined += 1
            self.lives, self.number = True, self.database.joined

    def _refuse_other_shards(self) -> None:
        """Those who live divide the runtimes into as many shards, if they do."""
        mine = self.sharing.shard
        for view in self.database.views:
            theirs = view.sharing.shard
            if mine and theirs and view.lives and theirs.of != mine.of:
                raise StoreError(f"{theirs.of} shards by {view.sharing.name}, {mine.of} here")

    def close(self) -> None:
        self.number = 0
        self.lose_lease()

    def owners(self) -> frozenset[tuple[str, int]]:
        with self.database.lock:
            living = [view for view in self.database.views if view.lives]
        found = frozenset((str(view.sharing.name), view.number) for view in living)
        return self.around("owners", lambda: found)

    def commit(self, batch: Batch) -> None:
        (refused,) = self.commit_many([batch])
        if refused is not None:
            raise refused

    def commit_many(self, batches: Sequence[Batch]) -> list[StoreError | None]:
        return self.around("commit_many", lambda: [self._commit(each) for each in batches])

    def _commit(self, batch: Batch) -> StoreError | None:
        runtime_id = batch.runtime.runtime_id
        with self.database.lock:
            owner = self if self.replaced else self.database.owners.get(runtime_id)
            if owner is not None and (self.replaced or (owner is not self and owner.lives)):
                return OwnedElsewhere(runtime_id, str(owner.sharing.name))
            (refused,) = self.inner.commit_many([batch])
            if refused is None:
                self.database.owners[runtime_id] = self
            return refused

    def renew(self) -> bool:
        self.around("renew", lambda: None)
        with self.database.lock:
            if not self.number:
                raise StoreError("acquire it first")
            if self.replaced:
                raise StoreError(f"another one has come as {self.sharing.name}")
            ran = self.lives
            if not ran:
                self._refuse_other_shards()
            self.lives = True
            return ran

    def owned_elsewhere(
        self, runtime_ids: Sequence[LogicalRuntimeId], *, lapsed_too: bool = False
    ) -> dict[LogicalRuntimeId, str]:
        with self.database.lock:
            owners = {each: self.database.owners.get(each) for each in runtime_ids}
        return self.around(
            "owned_elsewhere",
            lambda: {
                each: str(owner.sharing.name)
                for each, owner in owners.items()
                if owner is not None
                and owner is not self
                and (owner.lives or (lapsed_too and owner.number and not owner.replaced))
            },
        )

    def page_adoptable(
        self, *, after: str | None = None, limit: int = 1000
    ) -> Page[LogicalRuntimeId]:
        self.looks.put(after)
        with_work = self.around("page_adoptable", self.inner.runtimes_with_work)
        elsewhere = self.owned_elsewhere(with_work)
        found = [each for each in with_work if each not in elsewhere and each.value > (after or "")]
        return Page(tuple(found[:limit]), found[limit - 1].value if len(found) > limit else None)

    def offered(self) -> list[LogicalRuntimeId]:
        with self.database.lock:
            mine = [each for each, owner in self.database.owners.items() if owner is self]
        return self.around("offered", lambda: [each for each in mine if self.load_offered(each)])

    def load_offered(self, runtime_id: LogicalRuntimeId) -> list[InputState]:
        active = self.around("load_offered", lambda: self.inner.load_active_inputs(runtime_id))
        return [each for each in active if each.phase is InputPhase.ACCEPTED]

    def offer_many(
        self,
        offers: Sequence[tuple[LogicalRuntimeId, InputRow]],
        *,
        pending_max: int | None = None,
    ) -> list[AcceptOutcome | Exception]:
        def offer() -> list[AcceptOutcome | Exception]:
            with self.database.lock:
                return [self._offer(*each, pending_max) for each in offers]

        outcomes: list[AcceptOutcome | Exception] = self.around("offer_many", offer)
        self.database.hint(self)
        return outcomes

    def _offer(
        self, runtime_id: LogicalRuntimeId, row: InputRow, pending_max: int | None
    ) -> AcceptOutcome | Exception:
        stored, state = self.inner.load_runtime(runtime_id), row.state
        if stored is not None and stored.state is RuntimeState.DESTROYED:
            return RuntimeDestroyed()
        if stored is None or not stored.registered:
            return RuntimeNotFound(runtime_id)
        if stored.set_aside is not None:
            return RuntimeUnavailable(runtime_id, stored.set_aside)
        if stored.state in _TAKES_NONE:
            return RuntimeNotReady(stored.state)
        if state.phase is not InputPhase.ACCEPTED or state.policy is None:
            return StoreError("only what is accepted can be offered")
        keys = [] if state.idempotency_key is None else [state.idempotency_key]
        known = self.inner.load_known_inputs(runtime_id, [state.input_id], keys)
        known.sort(key=lambda each: each.idempotency_key != state.idempotency_key)
        if known:
            first = known[0]
            return Deduplicated(
                input_id=state.input_id, existing_id=first.input_id, existing_state=first
            )
        if pending_max is not None and len(self.load_active_inputs(runtime_id)) >= pending_max:
            return Overloaded("pending_inputs_max", pending_max)
        self.inner.offer(runtime_id, [row])
        return Accepted(input_id=state.input_id, policy=state.policy, state=state)

    def load_ended(
        self, watched: Sequence[tuple[LogicalRuntimeId, InputId]]
    ) -> list[tuple[LogicalRuntimeId, InputState]]:
        def load() -> list[tuple[LogicalRuntimeId, InputState]]:
            found = [(each[0], self.inner.load_input(*each)) for each in watched]
            return [(name, state) for name, state in found if state and state.is_terminal]

        return self.around("load_ended", load)

    def prune(self, *asked: Any, spared: frozenset[RunId] = frozenset(), **how: Any) -> Pruned:
        for runtime_id in self.owned_elsewhere([*self.database.owners]):
            ended = self.inner.page_terminal_inputs(runtime_id, limit=10_000).items
            spared |= {state.last_run_id for state in ended if state.last_run_id}
        return super().prune(*asked, spared=spared, **how)

    def wait_for_hint(self, timeout_s: float) -> bool:
        with self._hinted:
            self._hinted.wait_for(lambda: self._hint or self._hurried, timeout_s)
            hinted, self._hint, self._hurried = self._hint, False, False
            return hinted

    def hurry(self) -> None:
        with self._hinted:
            self._hurried = True
            self._hinted.notify_all()


class Two:
    """Two planes over one store; the first has the runtime "a"."""

    def __init__(self, open_plane: OpenPlane, **settings: Any) -> None:
        self.database = SharedMemory()
        self.views = [self.database.view(name) for name in ("P", "Q")]
        self.agents = [Agent(), Agent()]
        self.p, self.q = (
            open_plane(agent, store=view, **settings)
            for agent, view in zip(self.agents, self.views, strict=True)
        )
        self.p.register("a", timeout=WAIT_S)

    @property
    def of_p(self) -> SharedView:
        return self.views[0]

    @property
    def of_q(self) -> SharedView:
        return self.views[1]
