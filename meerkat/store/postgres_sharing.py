"""What a PostgreSQL store does besides where several processes share its schema."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from meerkat.errors import RecoveryCorruption
from meerkat.identifiers import InputId, LogicalRuntimeId
from meerkat.input_lifecycle import InputState
from meerkat.outcomes import AcceptOutcome
from meerkat.store.postgres_hints import Hints
from meerkat.store.postgres_lease import CUT_OFF_THE_LATE, Lease, in_a_hurry
from meerkat.store.postgres_offer import Offers
from meerkat.store.postgres_owning import Owner
from meerkat.store.postgres_readers import Readers
from meerkat.store.postgres_session import Address
from meerkat.store.postgres_statements import INPUT, LIVING
from meerkat.store.postgres_write import whose
from meerkat.store.protocol import InputRow, Page
from meerkat.store.rows import input_of, runtime_id_of
from meerkat.store.sharing import Sharing
from meerkat.store.sql_reads import SqlReads

_WAITS: Final = "phase = 'accepted' AND admission_sequence IS NULL AND outcome IS NULL"
"""Of an input that was offered, and that nobody has taken in."""

_WITH_WORK: Final = (
    "SELECT DISTINCT runtime_id FROM ("
    "SELECT runtime_id FROM inputs WHERE outcome IS NULL AND runtime_id > %s "
    "UNION ALL SELECT runtime_id FROM runtimes WHERE has_news AND runtime_id > %s) AS found "
    "ORDER BY runtime_id LIMIT %s"
)
_ADOPTABLE: Final = (
    "SELECT runtime_id, registered AND (owners.id IS NULL OR owners.id = %s::bigint) "
    f"FROM ({_WITH_WORK}) AS with_work JOIN runtimes USING (runtime_id) "
    f"LEFT JOIN owners ON owners.id = runtimes.owner_id AND {LIVING} ORDER BY runtime_id"
)
"""The next runtimes that have work, and whether each may be adopted: a page is of those that
were looked at, so that it costs the same whoever has them."""

_OWNERS: Final = f"SELECT name, id FROM owners WHERE {LIVING}"
_OFFERED: Final = (
    "SELECT DISTINCT runtime_id FROM inputs JOIN runtimes USING (runtime_id) "
    f"WHERE {_WAITS} AND owner_id = %s::bigint ORDER BY runtime_id"
)
_OFFERED_TO: Final = f"{INPUT} AND {_WAITS} ORDER BY place"
_ENDED: Final = (
    "SELECT runtime_id, input_id::text, phase, convert_to(state, 'UTF8'), NULL::bytea "
    "FROM unnest(%s::text[], %s::uuid[]) AS watched (runtime_id, input_id) "
    "JOIN inputs USING (runtime_id, input_id) WHERE outcome IS NOT NULL"
)


class SharedCalls(SqlReads):
    """The calls of a SharedStore that are not a RuntimeStore's."""

    _address: Address
    _readers: Readers
    _sharing: Sharing | None
    _lease: Lease | None
    _offers: Offers
    _hints: Hints

    def _start_sharing(self) -> None:
        address, sharing = self._address, self._sharing
        self._offers = Offers(address)
        self._lease = Lease(address, sharing) if sharing else None
        self._hints = Hints(in_a_hurry(address, sharing.lease_s) if sharing else address)

    def _stop_sharing(self) -> None:
        self._hints.close()
        self._offers.close()
        if self._lease is not None:
            self._lease.leave()

    @property
    def sharing(self) -> Sharing | None:
        """How this process takes part; None where it is to be the only owner."""
        return self._sharing

    @property
    def _me(self) -> Owner | None:
        return None if self._lease is None else self._lease.owner

    def renew(self) -> bool:
        """Renew the lease; did it still run? A server that is away is a StoreError at once.

        StoreInUse when another process has come under this name, or, while the lease was over,
        one that divides the runtimes into another number of shards.
        """
        if self._lease is None:
            raise self._address.says("there is no lease: it is not shared")
        return self._lease.renew()

    def owners(self) -> frozenset[tuple[str, int]]:
        """Whose lease runs: a name, and a number that is another when one comes again."""
        return frozenset((name, number) for name, number in self._rows(_OWNERS))

    def owned_elsewhere(
        self, runtime_ids: Sequence[LogicalRuntimeId], *, lapsed_too: bool = False
    ) -> dict[LogicalRuntimeId, str]:
        """Those of them that are in the hands of another process, and its name.

        ``lapsed_too``: or were, until its lease was over, and nobody has taken them since.
        """
        names = [each.value for each in runtime_ids]
        found = self._look(lambda reader: whose(reader, names, self._me, lapsed_too=lapsed_too))
        return {LogicalRuntimeId(name): owner for name, owner in (found or {}).items()}

    def page_adoptable(
        self, *, after: str | None = None, limit: int = 1000
    ) -> Page[LogicalRuntimeId]:
        """The registered runtimes with work that are in nobody's hands, or this process's.

        A page may hold fewer than ``limit``, or none, and have a next one. Before the first,
        transactions are ended of those whose lease is over: they may hold rows of what is to be
        taken up.
        """
        me, behind = self._me, after or ""
        if me is not None and after is None:
            asked = {"name": me.name, "tag": self._address.tag}
            self._look(lambda reader: reader.execute(CUT_OFF_THE_LATE, asked))
        rows = self._rows(_ADOPTABLE, me and me.id, behind, behind, limit + 1)
        items = tuple(runtime_id_of(name) for name, adoptable in rows[:limit] if adoptable)
        return Page(items, rows[limit - 1][0] if len(rows) > limit else None)

    def offered(self) -> list[LogicalRuntimeId]:
        """The runtimes of this process with inputs that another one has offered."""
        me = self._me
        rows = [] if me is None else self._rows(_OFFERED, me.id)
        return [runtime_id_of(name) for (name,) in rows]

    def load_offered(self, runtime_id: LogicalRuntimeId) -> list[InputState]:
        """The inputs of a runtime that were offered, and not taken in; in the order they came."""
        return [input_of(row) for row in self._rows(_OFFERED_TO, runtime_id.value)]

    def offer_many(
        self,
        offers: Sequence[tuple[LogicalRuntimeId, InputRow]],
        *,
        pending_max: int | None = None,
    ) -> list[AcceptOutcome | Exception]:
        """Offer inputs of many runtimes in one transaction, and wake who has them; in order.

        Each state has the decision of a policy in it, which comes back with Accepted. One of a
        runtime with ``pending_max`` stored inputs that have not ended is Overloaded. Raises
        CommitUnknown when nobody knows whether they were: offered again, they are taken in once.
        """
        return self._offers.offer_many(offers, pending_max)

    def load_ended(
        self, watched: Sequence[tuple[LogicalRuntimeId, InputId]]
    ) -> list[tuple[LogicalRuntimeId, InputState]]:
        """Those of these inputs that have ended. One whose row cannot be read is left out."""
        if not watched:
            return []
        names = [runtime_id.value for runtime_id, _ in watched]
        rows = self._rows(_ENDED, names, [str(input_id) for _, input_id in watched])
        ended = []
        for name, *columns in rows:
            try:
                ended.append((LogicalRuntimeId(name), input_of(columns)))
            except RecoveryCorruption:  # who reads it alone is told; the others are to hear
                continue
        return ended

    def wait_for_hint(self, timeout_s: float) -> bool:
        """Wait until there may be something new; was there a hint? It may end early.

        Never raises: without a server, there is none.
        """
        return self._hints.wait(timeout_s, self._me)

    def hurry(self) -> None:
        """End a wait for a hint, or the next one."""
        self._hints.hurry()
