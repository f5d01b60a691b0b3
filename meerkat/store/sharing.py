"""Sharing: what a store does besides where several processes have it at a time.

Each process is an owner, with a lease that it renews. A runtime is in the hands of the owner
that committed it last, until that owner's lease is over; then whoever commits first has it.
A commit of anybody else is refused with OwnedElsewhere. All times are the database's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol, TypeGuard, runtime_checkable

from attrs import field, frozen, validators

from meerkat.identifiers import InputId, LogicalRuntimeId
from meerkat.input_lifecycle import InputState
from meerkat.outcomes import AcceptOutcome
from meerkat.shards import Shard
from meerkat.store.protocol import InputRow, Page, RuntimeStore, does_all_of

LEASE_S: Final = 10.0
LEASE_S_MAX: Final = 86_400.0
"""A day: whoever is away for longer than that has nobody waiting for it."""
NAME_CHARS_MAX: Final = 200


def _is_name(_sharing: object, _field: object, name: str) -> None:
    if not (name.isprintable() and 0 < len(name) <= NAME_CHARS_MAX):
        raise ValueError(f"no name of a process: 1 to {NAME_CHARS_MAX} printable characters")


@frozen(kw_only=True)
class Sharing:
    """How a process takes part in a store that it shares."""

    name: str | None = field(default=None, validator=validators.optional(_is_name))
    """What the others call it. One that comes under the name of an earlier one takes its place:
    the lease of that one is over at once. None makes a name of the host and the process."""
    lease_s: float = field(
        default=LEASE_S, validator=[validators.gt(0), validators.le(LEASE_S_MAX)]
    )
    """Seconds without a sign of it after which others may take its runtimes."""
    shard: Shard | None = None
    """The runtimes that it takes up of itself; None for whichever nobody has."""


@runtime_checkable
class SharedStore(RuntimeStore, Protocol):
    """A RuntimeStore that several processes may have at a time. Every method is thread-safe.

    ``prune`` leaves alone, besides, the runs of a runtime that is in the hands of another
    process: which of them are in hand there, that one knows.
    """

    @property
    def sharing(self) -> Sharing | None:
        """How this process takes part; None where it is to be the only owner."""
        ...

    def renew(self) -> bool:
        """Renew the lease; did it still run? Else runtimes may have gone meanwhile.

        It does not wait for a database that is away: that is a StoreError, and the lease runs
        on. StoreInUse when another process has come under this name, or, while the lease was
        over, one that divides the runtimes into another number of shards.
        """
        ...

    def owners(self) -> frozenset[tuple[str, int]]:
        """Whose lease runs: a name, and a number that is another when one comes again.

        Nothing becomes nobody's while it stays the same set.
        """
        ...

    def owned_elsewhere(
        self, runtime_ids: Sequence[LogicalRuntimeId], *, lapsed_too: bool = False
    ) -> dict[LogicalRuntimeId, str]:
        """Those of them that are in the hands of another process, and its name.

        ``lapsed_too``: or were, until its lease ran out, and nobody has taken them since. Who
        has given them back had them no more.
        """
        ...

    def page_adoptable(
        self, *, after: str | None = None, limit: int = 1000
    ) -> Page[LogicalRuntimeId]:
        """The registered runtimes with work that are in nobody's hands, or this process's, by id.

        It costs what has work, not what is known. A page may hold fewer than ``limit``, or
        none, and have a next one.
        """
        ...

    def offered(self) -> list[LogicalRuntimeId]:
        """The runtimes of this process with inputs that another one has offered."""
        ...

    def load_offered(self, runtime_id: LogicalRuntimeId) -> list[InputState]:
        """The inputs of a runtime that were offered and nobody has taken in, as they came."""
        ...

    def offer_many(
        self,
        offers: Sequence[tuple[LogicalRuntimeId, InputRow]],
        *,
        pending_max: int | None = None,
    ) -> list[AcceptOutcome | Exception]:
        """Offer inputs of many runtimes in one transaction, and wake who has them; in order.

        Each is Accepted with the row's state and policy, Deduplicated with what is stored, or an
        error: RuntimeNotFound, RuntimeNotReady, RuntimeDestroyed or RuntimeUnavailable by the
        runtime's stored state, StoreError for a row that cannot be stored; and Overloaded for a
        new input of a runtime of which ``pending_max`` are stored that have not ended. That is
        counted with the offer, without what is being stored meanwhile: several who offer at a
        time may pass it by what each of them brings at once. They wait for the runtime's
        owner, or for who adopts it. Raises StoreError when nothing of it happened, and
        CommitUnknown when nobody knows: offered again, an input is taken in once.
        """
        ...

    def load_ended(
        self, watched: Sequence[tuple[LogicalRuntimeId, InputId]]
    ) -> list[tuple[LogicalRuntimeId, InputState]]:
        """Those of these inputs that have ended; one whose row cannot be read is left out."""
        ...

    def wait_for_hint(self, timeout_s: float) -> bool:
        """Wait until there may be something new: offered, or given back. Was there a hint?

        A hint may be missed, and the wait may end early: who waits looks from time to time.
        ``hurry`` ends the wait. It never raises: without a database there is no hint.
        """
        ...

    def hurry(self) -> None:
        """End a wait for a hint, or the next one."""
        ...


def shared(store: RuntimeStore) -> TypeGuard[SharedStore]:
    """Do several processes have it at a time?"""
    return does_all_of(SharedStore, store) and getattr(store, "sharing", None) is not None
