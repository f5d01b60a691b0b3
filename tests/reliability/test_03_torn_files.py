"""Test 3: a log that ends anywhere, and bits that flip.

The log has checksums: what opens is the history up to some commit, and never anything else.
The database file has none, in any version of SQLite, so that there the promise is another:
what is found to be wrong is a StoreError or a RecoveryCorruption, and damage to the text of
one row stays with its runtime. A text can change into another that can be read as well;
nobody notices that, and the figure says how often it was so.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from torn_story import (
    DATABASE,
    FRAME,
    LOG_HEAD,
    PAGE,
    Dump,
    Story,
    everything_in,
    story,
)

from actors import ControlPlane
from meerkat.errors import RecoveryCorruption, StoreError
from meerkat.inputs import PromptInput
from meerkat.runs import RunOutput
from meerkat.store import SqliteStore
from meerkat.testing.store_rows import R1, R2, R3, batch, prompt, row_of

Sized = Callable[[int, int], int]
Figure = Callable[[str], None]

QUICK = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
NOTHING_OPENS = -1
"""In the place of a number of commits: what opened is in no history."""
PARTS = 4
"""Every fourth size to a test, so that several processes can share them."""
WAIT_S = 30.0


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=QUICK) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return story(tmp_path_factory.mktemp("story"))


def opened(folder: Path) -> Dump:
    """What the owner of a file finds in it, when it has opened it."""
    writer: list[Any] = []

    def connect(*args: Any, **options: Any) -> Any:
        writer.append(sqlite3.connect(*args, **options))
        return writer[-1]

    with closing(SqliteStore(folder / DATABASE, connect=connect)) as store:
        store.acquire()
        return everything_in(writer[-1])


def read(folder: Path) -> Dump | None:
    """What a reader finds, which may not put the log away."""
    with closing(SqliteStore(folder / DATABASE)) as store:
        return store._readers.read(everything_in)


def place_in(history: tuple[Dump, ...], found: Dump | None) -> int:
    return history.index(found) if found in history else NOTHING_OPENS


def flipped(data: bytes, place: int, bit: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]


# --- the log ----------------------------------------------------------------------------


@pytest.mark.parametrize("part", range(PARTS))
def test_a_log_cut_at_any_byte_is_the_history_up_to_its_last_whole_commit(
    told: Story, folder: Path, figure: Figure, part: int
) -> None:
    wrong = []
    sizes = range(part, len(told.log) + 1, PARTS)
    for size in sizes:
        told.write_to(folder, log=told.log[:size])
        if place_in(told.history, opened(folder)) != told.commits_in(size):
            wrong.append(size)
    figure(f"3 torn files: cuts {len(sizes)}; flips 0; non-prefix states {len(wrong)}")
    assert not wrong
    assert len(set(told.history)) == 4
    assert len(sizes) > 1000


def test_a_reader_of_a_cut_log_sees_the_same(told: Story, folder: Path, sized: Sized) -> None:
    for size in range(0, len(told.log) + 1, sized(23, 1)):
        told.write_to(folder, log=told.log[:size])
        assert place_in(told.history, read(folder)) == told.commits_in(size)


def test_a_bit_that_flips_in_the_log_ends_the_history_before_it(
    told: Story, folder: Path, figure: Figure, sized: Sized
) -> None:
    wrong = []
    flips = range(0, 8 * len(told.log), sized(67, 1))
    for flip in flips:
        place, bit = divmod(flip, 8)
        told.write_to(folder, log=flipped(told.log, place, bit))
        if place_in(told.history, opened(folder)) != told.commits_before(place):
            wrong.append(flip)
    figure(f"3 torn files: cuts 0; flips {len(flips)}; non-prefix states {len(wrong)}")
    assert not wrong
    assert len(flips) > 1500


def test_frames_taken_over_without_the_logs_rule_would_be_found(told: Story, folder: Path) -> None:
    found = Counter[bool]()
    for end in range(LOG_HEAD + FRAME, len(told.log) + 1, FRAME):
        database = bytearray(told.database)
        for start in range(LOG_HEAD, end, FRAME):
            at = PAGE * (int.from_bytes(told.log[start : start + 4]) - 1)
            database[at : at + PAGE] = told.log[start + 24 : start + FRAME]
        told.write_to(folder, database=bytes(database))
        try:
            place = place_in(told.history, opened(folder))
        except (StoreError, sqlite3.DatabaseError):
            place = NOTHING_OPENS
        found[place == NOTHING_OPENS] += 1
    assert found[True] > 0


# --- the database file ------------------------------------------------------------------


def answers(path: Path) -> dict[str, object]:
    """All that a store answers, by runtime; in place of an answer, the type of its refusal."""
    found: dict[str, object] = {}
    with closing(SqliteStore(path)) as store:
        for name, ask in {
            "all": store.runtimes_with_work,
            **{str(each): lambda each=each: everything_of(store, each) for each in (R1, R2, R3)},
        }.items():
            try:
                found[name] = ask()
            except (StoreError, RecoveryCorruption) as error:
                found[name] = error
    return found


def everything_of(store: SqliteStore, runtime_id: Any) -> list[Any]:
    return [
        store.load_runtime(runtime_id),
        store.load_active_inputs(runtime_id),
        store.page_terminal_inputs(runtime_id).items,
        store.page_receipts(runtime_id).items,
        store.load_session_snapshot(runtime_id),
        store.load_ops_snapshot(runtime_id),
    ]


def written(path: Path) -> object:
    """What becomes of an owner who opens the file and writes to a runtime."""
    with closing(SqliteStore(path)) as store:
        try:
            store.acquire()
            return store.commit_many([batch(R3, row_of(prompt(5)), after=1, fence=2)])
        except (StoreError, RecoveryCorruption) as error:
            return error


def whole(told: Story, folder: Path) -> bytes:
    """The database with all its history in it, and no log."""
    told.write_to(folder, log=told.log)
    opened(folder)
    return (folder / DATABASE).read_bytes()


def test_a_byte_that_changes_in_the_file_is_refused_with_a_type_or_not_noticed(
    told: Story, folder: Path, figure: Figure, sized: Sized
) -> None:
    database = whole(told, folder)
    told.write_to(folder, database=database)
    right = answers(folder / DATABASE)
    seen: Counter[str] = Counter()
    untyped = []
    for flip in range(0, 8 * len(database), sized(211, 1)):
        place, bit = divmod(flip, 8)
        told.write_to(folder, database=flipped(database, place, bit))
        try:
            found = answers(folder / DATABASE)
            written(folder / DATABASE)
        except Exception as error:  # noqa: BLE001 - this is what is looked for
            untyped.append((flip, repr(error)))
            continue
        if found == right:
            seen["right"] += 1
        elif any(isinstance(each, Exception) for each in found.values()):
            seen["refused"] += 1
        else:
            seen["changed"] += 1
    figure(
        f"3 torn files, bytes of the database itself: flips {seen.total() + len(untyped)}; "
        f"untyped errors {len(untyped)}; answered rightly {seen['right']}; "
        f"refused {seen['refused']}; not noticed {seen['changed']}"
    )
    assert not untyped, (len(untyped), untyped[:5])
    assert seen["refused"] > 0
    assert seen["right"] > 0


def places_of(database: bytes, *texts: bytes) -> Iterator[int]:
    """Where the bytes of some texts lie."""
    for text in texts:
        start = database.find(text)
        while start >= 0:
            yield from range(start, start + len(text))
            start = database.find(text, start + 1)


def test_damage_to_the_text_of_one_row_stays_with_its_runtime(told: Story, folder: Path) -> None:
    database = whole(told, folder)
    told.write_to(folder, database=database)
    right = answers(folder / DATABASE)
    places = sorted(set(places_of(database, b'"the third\'s own words"', b'"attempt_count":0')))
    kept: Counter[bool] = Counter()
    for place in places:
        told.write_to(folder, database=flipped(database, place, 7))
        found = answers(folder / DATABASE)
        assert [name for name in found if found[name] != right[name]] in ([str(R3)], [str(R1)])
        kept[isinstance(found[str(R3)], RecoveryCorruption)] += 1
    assert kept[True] > 10


def test_the_other_runtimes_work_on_beside_a_damaged_row(told: Story, folder: Path) -> None:
    database = whole(told, folder)
    place = next(places_of(database, b'"the third\'s own words"'))
    told.write_to(folder, database=flipped(database, place, 7))
    store = SqliteStore(folder / DATABASE)
    with closing(store), ControlPlane(store, lambda context, primitive: RunOutput()) as plane:
        with pytest.raises(StoreError, match="Recovery corruption") as caught:
            plane.ingest(str(R3), PromptInput("hello"), timeout=WAIT_S)
        assert isinstance(caught.value.__cause__, RecoveryCorruption)
        for runtime_id in (R1, R2):
            completion = plane.submit(str(runtime_id), PromptInput("hello")).completion
            assert completion.result(WAIT_S).kind == "completed_without_result"
