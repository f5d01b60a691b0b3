"""Watch: what must hold after every step, held against a record of its own.

It asks the database nothing: it writes down what it is told of leases, commits, receipts and
answers, and says which promise was broken.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from attrs import Factory, define


class Broken(AssertionError):
    """A promise was broken."""


@define
class _Seen:
    owner: int = 0
    fence: int = 0
    receipts: int = 0
    last_number: int = -1


@define
class Watch:
    """The record of one world."""

    leases: dict[int, float] = Factory(dict)
    seen: dict[int, _Seen] = Factory(lambda: defaultdict(_Seen))
    stored: set[int] = Factory(set)
    acknowledged: set[int] = Factory(set)
    with_receipt: set[int] = Factory(set)
    gone_since: dict[int, float] = Factory(dict)
    """Since when a runtime with work is in nobody's hands, or it could not be taken up."""
    left: dict[int, float] = Factory(dict)
    """The runtimes with work that a member has left behind, and when."""
    adopted: list[float] = Factory(list)
    """Seconds from then to their adoption."""
    checks: int = 0

    def lease(self, owner: int, until: float) -> None:
        """A lease was set."""
        self.leases[owner] = until

    def committed(self, runtime: int, me: int, fence: int, now: float) -> None:
        """One owner at a time commits, and its fences are dense."""
        self.checks += 1
        before = self.seen[runtime]
        if before.owner not in (0, me) and self.leases[before.owner] > now:
            raise Broken(
                f"runtime {runtime} was committed by {me} while {before.owner} has it for "
                f"another {self.leases[before.owner] - now:.3f} s"
            )
        if fence != before.fence + 1:
            raise Broken(f"runtime {runtime} went from fence {before.fence} to {fence}")
        if before.owner != me and runtime in self.left:
            self.adopted.append(now - self.left.pop(runtime))
        before.owner, before.fence = me, fence

    def adoptable(self, me: int, page: Sequence[int], now: float) -> None:
        """What can be adopted is in nobody's hands, or in one's own."""
        self.checks += 1
        for runtime in page:
            owner = self.seen[runtime].owner
            if owner not in (0, me) and self.leases[owner] > now:
                raise Broken(f"runtime {runtime} is to be adopted, and {owner} has it")

    def offered(self, runtime: int, key: int, *, takes: bool) -> None:
        """An input is taken in by a runtime that takes inputs just then."""
        self.checks += 1
        if not takes:
            raise Broken(f"input {key} was taken in by runtime {runtime}, which is stopped")

    def consumed(self, runtime: int, key: int, number: int | None) -> None:
        """No input is consumed twice, and those of a runtime in their order."""
        self.checks += 1
        seen = self.seen[runtime]
        if key in self.with_receipt:
            raise Broken(f"input {key} was consumed twice")
        if number is None or number <= seen.last_number:
            raise Broken(f"input {key} is number {number}, behind number {seen.last_number}")
        self.with_receipt.add(key)
        seen.last_number = number
        seen.receipts += 1

    def answered(self, key: int, *, is_stored: bool) -> None:
        """What a caller was told is accepted is stored."""
        self.checks += 1
        if not is_stored:
            raise Broken(f"input {key} was acknowledged, and is not stored")
        self.acknowledged.add(key)

    def looked(self, orphans: Sequence[int], now: float, bound_s: float) -> None:
        """Nothing with work is in nobody's hands for longer than the bound."""
        self.checks += 1
        self.gone_since = {each: self.gone_since.get(each, now) for each in orphans}
        for runtime, since in self.gone_since.items():
            if now - since > bound_s:
                raise Broken(f"runtime {runtime} has work, and nobody for {now - since:.3f} s")

    def ended(self, ended: dict[int, bool]) -> None:
        """In the end, all that was acknowledged has ended; what was consumed, with a receipt."""
        lost = self.acknowledged - ended.keys()
        if lost:
            raise Broken(f"{len(lost)} acknowledged inputs have not ended, {min(lost)} first")
        unproved = {key for key, well in ended.items() if well} ^ self.with_receipt
        if unproved:
            raise Broken(f"{len(unproved)} inputs were consumed without a receipt")
