"""Our two stores beyond the protocol: the order in which they list, and how a URL names them."""

from __future__ import annotations

from pathlib import Path

import pytest

from meerkat import InputPhase
from meerkat.errors import StoreError
from meerkat.store import MemoryStore, RuntimeStore, open_store
from meerkat.testing.store_rows import (
    R1,
    R2,
    batch,
    input_id,
    prompt,
    row_of,
)


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_finished_inputs_are_listed_without_a_key_first_then_by_key(
    store: RuntimeStore, limit: int
) -> None:
    keys = {5: "b", 3: None, 4: "a", 1: None, 2: "ä", 7: None, 6: "Z"}
    rows = [row_of(prompt(number, key), InputPhase.CONSUMED) for number, key in keys.items()]
    store.commit(batch(R1, *rows, row_of(prompt(99, "aa")), row_of(prompt(98))))
    store.commit(batch(R2, row_of(prompt(50, "a"), InputPhase.CONSUMED)))
    listed: list[int] = []
    after: str | None = None
    while len(listed) < len(rows):
        page = store.page_terminal_inputs(R1, after=after, limit=limit)
        listed += [state.input_id.value.int for state in page.items]
        after = page.next
        assert (after is None) == (len(listed) == len(rows))
    assert listed == [3, 1, 7, 6, 4, 5, 2]


def test_behind_an_input_that_nobody_knows_there_is_no_page(store: RuntimeStore) -> None:
    store.commit(batch(R1, row_of(prompt(1), InputPhase.CONSUMED)))
    assert store.page_terminal_inputs(R1, after=str(input_id(2))).items == ()


def test_store_urls() -> None:
    assert isinstance(open_store("memory:"), MemoryStore)
    assert str(open_store("sqlite:///a.db")).endswith("a.db')")
    for url in ("sqlite://", "sqlite:///", "mysql://x", "a.db", ""):
        with pytest.raises(StoreError, match="unknown store URL"):
            open_store(url)
    with pytest.raises(TypeError, match="a store URL is a text, not PosixPath"):
        open_store(Path("a.db"))  # type: ignore[arg-type]
