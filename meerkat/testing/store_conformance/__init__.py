"""Store conformance: the promises of ``RuntimeStore`` as test cases, for stores of any make.

A host whose store is not one of ours subclasses :class:`StoreConformance` in a test file::

    class TestMyStore(StoreConformance):
        capabilities = {StoreCapability.DURABLE, StoreCapability.READERS}

        def open_store(self, place: Path) -> RuntimeStore:
            return MyStore(place / "my.db")

and runs pytest. The plugin ``meerkat_pytest`` comes with the installation: it prints how many
cases ran for which store, and fails a run in which none did.
"""

from __future__ import annotations

from meerkat.testing.store_conformance.base import StoreCapability, needs
from meerkat.testing.store_conformance.batches import BatchCases
from meerkat.testing.store_conformance.copies import CopyCases
from meerkat.testing.store_conformance.given_up import GivenUpCases
from meerkat.testing.store_conformance.inputs import InputCases
from meerkat.testing.store_conformance.lasting import LastingCases
from meerkat.testing.store_conformance.listings import ListingCases
from meerkat.testing.store_conformance.operations import OperationCases
from meerkat.testing.store_conformance.receipts import ReceiptCases
from meerkat.testing.store_conformance.retention import RetentionCases
from meerkat.testing.store_conformance.retention_of_proofs import ProofRetentionCases
from meerkat.testing.store_conformance.runtimes import RuntimeCases
from meerkat.testing.store_conformance.sessions import SessionCases
from meerkat.testing.store_conformance.shared import SharedStoreConformance
from meerkat.testing.store_conformance.summaries import SummaryCases

__all__ = [
    "SharedStoreConformance",
    "StoreCapability",
    "StoreConformance",
    "cases_for",
    "needs",
]


class StoreConformance(
    InputCases,
    RuntimeCases,
    BatchCases,
    ReceiptCases,
    ListingCases,
    SummaryCases,
    GivenUpCases,
    SessionCases,
    OperationCases,
    RetentionCases,
    ProofRetentionCases,
    LastingCases,
    CopyCases,
):
    """All that a RuntimeStore promises, as test cases: subclass it, and say how to open yours.

    A subclass has ``open_store`` and, for what its store can beyond the protocol, its
    ``capabilities``; the cases of those it does not have are skipped, and named. Each case
    opens a store of its own, empty, and closes it. Cases may run in any order, and in several
    processes at once, if ``open_store`` gives each place data of its own.

    ``open_store`` may skip (``pytest.skip``) where a server is missing: a run in which no case
    ran for a store fails all the same, as nothing was shown. Cases of the host's own are
    methods beside the others; ``needs`` ties one to a capability.
    """

    is_store_conformance = True


def cases_for(store_class: type[StoreConformance]) -> list[str]:
    """The names of the cases that a store's class runs, those of its own with them."""
    cases = [name for name in dir(store_class) if name.startswith("test_")]
    return [name for name in cases if not store_class.missing_for(getattr(store_class, name))]
