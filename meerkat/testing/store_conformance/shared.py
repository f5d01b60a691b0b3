"""Shared store conformance: the promises of ``SharedStore`` as test cases.

A host whose store several processes share subclasses :class:`SharedStoreConformance`, beside
``StoreConformance``, and says how the store of one of them is opened, and how a lease ends.
"""

from __future__ import annotations

from meerkat.testing.store_conformance.shared_hands import HandsCases
from meerkat.testing.store_conformance.shared_offers import OfferCases


class SharedStoreConformance(HandsCases, OfferCases):
    """All that a SharedStore promises besides, as test cases: subclass it.

    A subclass has ``open_shared`` and ``end_lease``. Each case opens stores of its own over one
    place, empty at first, as if each were another process, and closes them.
    """

    is_store_conformance = True
