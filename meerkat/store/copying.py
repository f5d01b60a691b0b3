"""Copying: every runtime of a store brought into another one, while the first is in use.

In passes: the first brings everything, each later one the runtimes whose fence has moved. What
is left at the end is brought while nobody can own the first store. Only when both stores have
the same digests does the copy go on: before that it holds every runtime back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain, takewhile
from typing import Final

from attrs import define, field

from meerkat.errors import RecoveryCorruption
from meerkat.identifiers import LogicalRuntimeId
from meerkat.store.copy_digest import CopyPart, RuntimeDigest, digest_of_runtime, every
from meerkat.store.copy_ends import able, owned, refuse_the_same
from meerkat.store.copy_report import CopyDifference, CopyRefused, CopyReport
from meerkat.store.copy_runtime import (
    Conflict,
    batches,
    is_held_back,
    is_here,
    lacking,
)
from meerkat.store.copy_writes import CopyWrites
from meerkat.store.copyable import CopyableStore
from meerkat.store.ownership import StoreInUse
from meerkat.store.protocol import Batch, Order, RuntimeRow, RuntimeStore

PASSES: Final = 5
"""Of a store that is busy something has always moved: more passes bring less and less."""

RUNTIMES_A_PAGE: Final = 1000

Told = Callable[[int, int], None]
"""Told the number of the pass, 0 for the last one that verifies, and how many it has done."""


def copy_store(
    source: RuntimeStore,
    target: RuntimeStore,
    *,
    passes: int = PASSES,
    told: Told = lambda _number, _done: None,
) -> CopyReport:
    """Bring everything that ``source`` keeps into ``target``, which is owned meanwhile.

    ``source`` is only read, and may be in use: then it ends with ``owner``, and is to be called
    again once that has stopped. It may be called again whatever ended it. Raises CopyRefused,
    with nothing changed, when ``target`` has something else than an earlier copy; StoreError.
    The caller closes both. For one thread.
    """
    refuse_the_same(source, target)
    copying = _Copying(able(source), able(target), told)
    copying.target.acquire()
    copying.refuse_what_is_no_copy()
    number = 0
    for number in range(1, passes + 1):
        if not copying.run_pass(number):
            break
    try:
        with owned(source):
            copying.finish()
    except StoreInUse as in_use:
        return copying.report(passes=number, owner=in_use.text, missing=copying.missing())
    return copying.report(passes=number)


def verify_copy(
    source: RuntimeStore, target: RuntimeStore, *, told: Told = lambda _number, _done: None
) -> CopyReport:
    """Compare two stores by their digests; neither is owned, and nothing is changed."""
    refuse_the_same(source, target)
    copying = _Copying(able(source), able(target), told)
    return copying.report(missing=copying.verify())


@define
class _Copying:
    """One copy on its way."""

    source: CopyableStore
    target: CopyableStore
    _told: Told
    _writes: CopyWrites = field(init=False)
    _copied: int = 0
    _verified: int = 0
    _counts: dict[CopyPart, int] = field(factory=dict)
    _digest: hashlib._Hash = field(factory=hashlib.sha256)
    _differences: list[CopyDifference] = field(factory=list)
    _unreadable: dict[str, str] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self._writes = CopyWrites(self.target)

    def report(self, **more: object) -> CopyReport:
        """What it has come to."""
        return CopyReport(
            copied=self._copied,
            verified=self._verified,
            counts=self._counts,
            digest=self._digest.hexdigest() if self._verified else "",
            differences=tuple(self._differences),
            unreadable=self._unreadable,
            **more,  # type: ignore[arg-type]
        )

    # --- what is there ------------------------------------------------------------------

    def refuse_what_is_no_copy(self) -> None:
        """Raise CopyRefused unless all in the target is an earlier copy of what is here."""
        for summary in every(self.target.page_summaries, limit=RUNTIMES_A_PAGE):
            there = summary.row
            if there is None:
                raise CopyRefused(f"{self.target!r}: {summary.unreadable}")
            try:
                row = self.source.load_runtime(there.runtime_id)
            except RecoveryCorruption:
                continue  # it is told of when its turn comes
            if row is None:
                raise CopyRefused(f"{self.target!r} has runtime {there.runtime_id}, another's")
            if not (is_held_back(there) or there == row or self._grows_into(there, row)):
                raise CopyRefused(
                    f"{self.target!r}: runtime {there.runtime_id} has gone on there since it was "
                    "copied, or was never copied"
                )

    def _grows_into(self, there: RuntimeRow, row: RuntimeRow) -> bool:
        """Is a runtime that goes on in the target one that was here earlier?"""
        try:
            return there.fence < row.fence and all(True for _ in self._lacking(row))
        except (Conflict, RecoveryCorruption):
            return False

    def _lacking(self, row: RuntimeRow) -> Iterator[object]:
        return lacking(self.source, self.target, row)

    def _rows(self) -> Iterator[RuntimeRow]:
        """The runtimes to be copied; of those that cannot be read it is noted why."""
        for summary in every(self.source.page_summaries, limit=RUNTIMES_A_PAGE):
            if summary.row is None:
                self._unreadable[summary.name] = summary.unreadable or "its row cannot be read"
            elif summary.name not in self._unreadable:
                yield summary.row

    def _waiting(self) -> Iterator[RuntimeRow]:
        """Those with something that waits, the oldest first: so they stand in the copy, too."""
        oldest = every(self.source.page_summaries, Order.OLDEST, limit=RUNTIMES_A_PAGE)
        for summary in takewhile(lambda each: each.pending, oldest):
            if summary.row is not None:
                yield summary.row

    def _paired(self) -> Iterator[tuple[RuntimeRow, RuntimeRow | None]]:
        """The runtimes to be copied, each with its row in the target: both are listed by name.

        What waits to be written is written before; meanwhile each is written once it has come.
        """
        theirs = every(self.target.page_summaries, limit=RUNTIMES_A_PAGE)
        there = next(theirs, None)
        for row in self._rows():
            name = row.runtime_id.value
            while there is not None and there.name < name:
                there = next(theirs, None)
            if there is None or there.name != name:
                yield row, None
            else:
                yield row, there.row or self.target.load_runtime(row.runtime_id)

    def missing(self) -> tuple[str, ...]:
        """The runtimes of which something is still to be brought, by their fences."""
        return tuple(
            row.runtime_id.value for row, there in self._paired() if not is_here(row, there)
        )

    # --- bringing -----------------------------------------------------------------------

    def run_pass(self, number: int) -> int:
        """Bring what has moved; how many runtimes that was."""
        done = 0
        for listed, there in chain(self._first() if number == 1 else (), self._paired()):
            if not is_here(listed, there) and self._bring(listed.runtime_id, there):
                done += 1
                self._told(number, done)
        self._writes.flush()
        self._copied += done
        return done

    def _first(self) -> Iterator[tuple[RuntimeRow, RuntimeRow | None]]:
        """What comes before all else, and what there is of it."""
        for row in self._waiting():
            self._writes.settle(row.runtime_id)
            yield row, self.target.load_runtime(row.runtime_id)
        self._writes.flush()

    def _bring(self, runtime_id: LogicalRuntimeId, there: RuntimeRow | None) -> bool:
        """Bring what the target lacks of a runtime; False where that could not be.

        A copy that cannot be added to begins again, unless it has been put in service.
        """
        try:
            row = self.source.load_runtime(runtime_id)
            if row is None:
                return False
            try:
                if there is not None and not is_held_back(there):
                    all(True for _ in self._lacking(row))  # a conflict, before it is touched
                self._write(row, there)
            except Conflict:
                if there is not None and not is_held_back(there):
                    return False
                while not self.target.erase(runtime_id):
                    pass
                with suppress(Conflict):  # it is gone through in the middle of something
                    self._write(row, None)
        except RecoveryCorruption as error:
            self._unreadable[runtime_id.value] = error.reason
            return False
        return True

    def _write(self, row: RuntimeRow, there: RuntimeRow | None) -> None:
        waiting: Batch | None = None
        for batch in batches(self.source, self.target, row, there):
            if waiting is not None:
                self._writes.commit(waiting)
            waiting = batch
        if waiting is not None:
            self._writes.add(waiting)

    # --- the end ------------------------------------------------------------------------

    def finish(self) -> None:
        """Bring what is left, verify all, and put in service what is the same.

        The source does not change meanwhile.
        """
        self.run_pass(0)
        sound = [row.runtime_id for row in self._rows() if self._is_sound(row, mend=True)]
        for runtime_id in sound:
            row, there = self.source.load_runtime(runtime_id), self.target.load_runtime(runtime_id)
            if row is not None and there is not None and row != there:
                self._writes.add(Batch(runtime=row, expected_fence=there.fence))
        self._writes.flush()
        verified = set(sound)
        for row, there in self._paired():
            if row.runtime_id in verified and row != there:
                self._differs(row.runtime_id.value, (CopyPart.RUNTIME,))

    def verify(self) -> tuple[str, ...]:
        """Compare everything, and note what differs; what is not there, or not finished."""
        missing = []
        for row in self._rows():
            there = self.target.load_runtime(row.runtime_id)
            if there is None or is_held_back(there):
                missing.append(row.runtime_id.value)
            else:
                self._is_sound(row, mend=False)
        for summary in every(self.target.page_summaries, limit=RUNTIMES_A_PAGE):
            with suppress(RecoveryCorruption, ValueError):
                if self.source.load_runtime(LogicalRuntimeId(summary.name)) is None:
                    self._differs(summary.name, (CopyPart.RUNTIME,))
        return tuple(missing)

    def _is_sound(self, row: RuntimeRow, *, mend: bool) -> bool:
        """Is a runtime the same in both? What can be mended is: what came without a commit."""
        name = row.runtime_id.value
        found = self._compared(row, with_row=not mend)
        if found is None:
            return False
        mine, differing = found
        if differing and mend:
            self._bring(row.runtime_id, self.target.load_runtime(row.runtime_id))
            self._writes.flush()
            mine, differing = self._compared(row, with_row=False) or (mine, differing)
        if differing:
            self._differs(name, differing)
            return False
        self._verified += 1
        for part, count in mine.counts.items():
            self._counts[part] = self._counts.get(part, 0) + count
        self._digest.update(f"{name} {' '.join(mine.parts[part] for part in CopyPart)}\n".encode())
        self._told(0, self._verified)
        return True

    def _compared(
        self, row: RuntimeRow, *, with_row: bool
    ) -> tuple[RuntimeDigest, tuple[CopyPart, ...]] | None:
        """A runtime's digest here, and in what it differs there; None if it cannot be read."""
        try:
            mine = digest_of_runtime(self.source, row)
        except RecoveryCorruption as error:
            self._unreadable[row.runtime_id.value] = error.reason
            return None
        try:
            there = self.target.load_runtime(row.runtime_id)
            if there is None:
                return mine, tuple(CopyPart)
            differing = mine.differs_in(digest_of_runtime(self.target, there))
        except RecoveryCorruption:
            return mine, tuple(CopyPart)
        return mine, tuple(each for each in differing if with_row or each is not CopyPart.RUNTIME)

    def _differs(self, name: str, parts: tuple[CopyPart, ...]) -> None:
        self._differences.append(CopyDifference(runtime=name, parts=parts))
