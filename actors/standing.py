"""Standing: which of the drivers that run have inputs, and which refuse their runtime.

Kept by the drivers as they change, so that nobody who looks has to walk all that are live. A
driver is in at most as long as it is live; what exactly is the matter is asked of itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from meerkat.kernel import RuntimeMemory

if TYPE_CHECKING:
    from actors.driver import DriverActor


class Standing:
    """Drivers of one plane by how they stand. Thread-safe.

    No lock: a set takes in, or lets go, an object in one step.
    """

    def __init__(self) -> None:
        self.with_inputs: set[DriverActor] = set()
        """Those whose memory holds inputs that have not ended, and others that have had some."""
        self.refusing: set[DriverActor] = set()
        """Those whose runtime cannot be had until somebody acts, or not any more."""

    def have_inputs(self) -> Iterator[RuntimeMemory]:
        """The memories that hold inputs; drivers that have none any more are put out."""
        for driver in self.with_inputs.copy():
            memory = driver.memory
            if memory is not None and memory.ledger.active_count:
                yield memory
                continue
            self.with_inputs.discard(driver)
            memory = driver.memory
            if memory is not None and memory.ledger.active_count:
                self.with_inputs.add(driver)  # it may have put itself in just before
                yield memory

    def leaves(self, driver: DriverActor) -> None:
        """It has ended."""
        self.with_inputs.discard(driver)
        self.refusing.discard(driver)
