"""The scenarios of stores, by their ids: each is a case of the conformance kit, on both stores."""

from __future__ import annotations

from meerkat.store import RuntimeStore
from meerkat.testing import StoreConformance

CASES = StoreConformance()


def test_sto_01_one_commit_comes_back_equal(store: RuntimeStore) -> None:
    CASES.test_one_commit_comes_back_equal(store)


def test_sto_02_an_unknown_runtime_has_nothing(store: RuntimeStore) -> None:
    CASES.test_an_unknown_runtime_has_nothing(store)


def test_sto_04_a_newer_version_replaces_the_older(store: RuntimeStore) -> None:
    CASES.test_a_newer_version_replaces_the_older(store)


def test_sto_05_runtimes_do_not_mix(store: RuntimeStore) -> None:
    CASES.test_runtimes_do_not_mix(store)


def test_sto_07_a_runtime_and_its_inputs_land_together(store: RuntimeStore) -> None:
    CASES.test_a_runtime_and_its_inputs_land_together(store)


def test_sto_08_snapshots_are_byte_equal(store: RuntimeStore) -> None:
    CASES.test_snapshots_are_byte_equal(store)


def test_sto_10_receipt_sequences_up_to_64_bits_are_distinct(store: RuntimeStore) -> None:
    CASES.test_receipt_sequences_up_to_64_bits_are_distinct(store)
