"""Fresh UUIDs are of version 7, of now, and nobody else's."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime
from uuid import RFC_4122, UUID

import pytest

from meerkat import minting
from meerkat.minting import fresh_uuid


def milliseconds_now() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)


def test_one_is_of_version_7_and_of_the_standards_variant() -> None:
    for _ in range(1_000):
        minted = fresh_uuid()
        assert isinstance(minted, UUID)
        assert (minted.version, minted.variant) == (7, RFC_4122)
        text = str(minted)
        assert text[14] == "7"
        assert text[19] in "89ab"
        assert UUID(text) == minted


def test_its_first_48_bits_are_the_time_in_milliseconds() -> None:
    before = milliseconds_now()
    minted = [fresh_uuid().int >> 80 for _ in range(500)]
    after = milliseconds_now()
    assert all(before <= each <= after for each in minted)


def test_a_hundred_thousand_differ_and_so_do_the_texts() -> None:
    assert len({str(fresh_uuid()) for _ in range(100_000)}) == 100_000


def test_each_of_the_74_bits_is_left_to_chance() -> None:
    ones = zeros = 0
    for _ in range(2_000):
        minted = fresh_uuid().int
        ones, zeros = ones | minted, zeros | ~minted
    fixed = (0xF << 76) | (0x3 << 62)  # version and variant
    chance = ((1 << 80) - 1) & ~fixed
    assert chance.bit_count() == 74
    assert ones & chance == zeros & chance == chance


def test_threads_share_none() -> None:
    minted: list[list[UUID]] = [[] for _ in range(8)]
    line = threading.Barrier(8)

    def mint(mine: list[UUID]) -> None:
        line.wait()
        mine.extend(fresh_uuid() for _ in range(5_000))

    threads = [threading.Thread(target=mint, args=(mine,)) for mine in minted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({each for mine in minted for each in mine}) == 40_000


def test_entropy_is_bought_for_many_and_used_once(monkeypatch: pytest.MonkeyPatch) -> None:
    bought: list[bytes] = []

    def urandom(count: int) -> bytes:
        bought.append(os.getrandom(count))
        return bought[-1]

    monkeypatch.setattr(minting.os, "urandom", urandom)  # type: ignore[attr-defined]
    minting._stock.clear()
    minted = [fresh_uuid() for _ in range(512)]
    assert [len(each) for each in bought] == [2_560, 2_560]
    assert len({each.int & ((1 << 62) - 1) for each in minted}) == 512
    fresh_uuid()
    assert len(bought) == 3


def test_a_forked_child_mints_its_own() -> None:
    """Both have the same stock at the fork: the child throws its own away."""
    fresh_uuid()
    assert minting._stock
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, b"".join(fresh_uuid().bytes[6:] for _ in range(200)))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    childs = {said[at : at + 10] for at in range(0, len(said), 10)}
    mine = {fresh_uuid().bytes[6:] for _ in range(600)}
    assert len(childs) == 200
    assert not childs & mine
