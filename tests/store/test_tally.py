"""What is counted by SQLite is what is found by reading all of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from actors import ControlPlane
from meerkat import LogicalRuntimeId, PromptInput, RunOutput
from meerkat.errors import ApplyFailed
from meerkat.limits import Backoff, Retention
from meerkat.store import MemoryStore, RuntimeStore, SqliteStore
from meerkat.store.protocol import is_store
from meerkat.store.tally import NOTHING, Tally, newest_inputs, tally_by_pages, tally_in

A, B = LogicalRuntimeId("a"), LogicalRuntimeId("b")
WAIT_S = 10


def agent(context: Any, primitive: Any) -> RunOutput:
    if primitive.text.startswith("fail"):
        raise ApplyFailed(primitive.text, recoverable="later" in primitive.text)
    if primitive.text == "bytes":
        return RunOutput(snapshot=b"12345")
    return RunOutput(append=[{"role": "user", "content": primitive.text}])


def worked(store: RuntimeStore, *texts: str) -> None:
    """Work these off for *a*; one that fails for a time is left waiting."""
    with ControlPlane(store, agent, backoff=Backoff(base_s=60, cap_s=60)) as plane:
        plane.register_many([A, B])
        plane.ingest(B, PromptInput("another's"))
        for number, text in enumerate(texts):
            offered = PromptInput(text, idempotency_key=f"{text}-{number}")
            if "later" not in text:
                plane.completion(A, plane.ingest(A, offered)).result(WAIT_S)
                continue
            with plane.subscribe(A) as events:
                plane.ingest(A, offered)
                next(each for each in events if str(each.event.code) == "run.failed")


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ((), NOTHING),
        (("one", "two"), {"messages": 2, "receipts": 2, "ended": {"consumed": 2}}),
        (("fail", "one"), {"last_error": "fail", "ended": {"consumed": 1, "abandoned": 1}}),
        (("fail 1", "fail 2", "one"), {"last_error": "fail 2"}),
        (("fail", "fail later"), {"last_error": "fail later", "pending": 1}),
        (("one", "bytes"), {"snapshot_bytes": 5}),
    ],
    ids=str,
)
def test_it_is_the_same_counted_and_read(
    tmp_path: Path, texts: tuple[str, ...], expected: Any
) -> None:
    store = SqliteStore(tmp_path / "sessions.db")
    worked(store, *texts)
    tally = store.tally(A)
    assert tally == tally_by_pages(store, A)
    memory = MemoryStore()
    worked(memory, *texts)
    assert tally_by_pages(memory, A) == tally
    if isinstance(expected, Tally):
        assert tally == expected
        return
    for name, value in expected.items():
        found = getattr(tally, name)
        assert value == (
            {str(phase): n for phase, n in found.items()} if name == "ended" else found
        )


def test_of_what_is_not_there_it_counts_nothing(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "sessions.db")
    assert store.tally(A) == NOTHING
    assert not store.path.exists()
    worked(store)
    assert store.tally(LogicalRuntimeId("c")) == NOTHING


def test_what_was_let_go_is_counted_all_the_same(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "sessions.db")
    worked(store, "one", "fail", "two")
    store.acquire()
    store.prune(Retention(max_count=0), datetime.now(UTC) + timedelta(days=1))
    assert store.tally(A) == tally_by_pages(store, A)
    assert sum(store.tally(A).ended.values()) == 3
    store.close()


class Around:
    """Passes everything on to a store, and names what it was asked for."""

    def __init__(self, store: RuntimeStore) -> None:
        self._store = store
        self.asked: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.asked.add(name)
        return getattr(self._store, name)


def test_what_is_put_around_a_store_is_one_and_counts_as_it_does(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "sessions.db")
    worked(store, "one", "fail")
    around = Around(store)
    assert is_store(around)
    around.asked.clear()
    through = cast("RuntimeStore", around)
    assert tally_in(through, A) == store.tally(A)
    page = store.page_newest_inputs(A, limit=1)
    assert newest_inputs(through, A, after=None, limit=1) == page
    assert around.asked == {"tally", "page_newest_inputs"}
