"""The recording disk: it notes what is done, and what it says could be left is what could be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from meerkat import testing
from meerkat.store import SqliteStore
from meerkat.testing import PowerLossState, RecordingDisk
from meerkat.testing.power_loss_log import (
    Acknowledged,
    Event,
    FileSynced,
    Named,
    NamesSynced,
    Resize,
    Write,
)
from meerkat.testing.power_loss_states import power_loss_states
from meerkat.testing.store_rows import R1, batch, input_id, prompt, row_of

OLD, NEW = b"o" * 2048, b"n" * 2048
THERE: tuple[Event, ...] = (Named("a", 0), Write(0, 0, OLD), FileSynced(0, 2), NamesSynced(3))
MANY = 3000


def left_of(*events: Event) -> list[PowerLossState]:
    """Very many states of a short story."""
    return list(power_loss_states(events, seed=1, count=MANY))


def at_the_end(*events: Event) -> list[bytes | None]:
    """What could be in file ``a`` when all has been done."""
    return [each.files.get("a") for each in left_of(*events) if each.moment == len(events)]


def commit_some(disk: RecordingDisk, path: Path, count: int = 30) -> None:
    """Inputs, one commit each, acknowledged one by one; the store is opened again now and then."""
    store = SqliteStore(path, connect=disk.connect)
    for number in range(1, count + 1):
        row = row_of(prompt(number, f"key-{number}"), sequence=number)
        store.commit(batch(R1, row, after=number - 1, fence=number))
        disk.acknowledged(number)
        if number % 12 == 0:
            store.close()
    store.close()


def lost(states: Iterator[PowerLossState], folder: Path) -> int:
    """In how many states is something missing that was acknowledged?"""
    found = 0
    for state in states:
        state.write_to(folder)
        store = SqliteStore(folder / "sessions.db")
        store.acquire()
        there = {each.input_id for each in store.load_active_inputs(R1)}
        found += not {input_id(number) for number in state.acknowledged} <= there  # type: ignore[arg-type]
        store.close()
    return found


# --- what could be left -----------------------------------------------------------------


def test_what_is_synced_is_there_in_every_state() -> None:
    assert set(at_the_end(*THERE)) == {OLD}


def test_a_write_that_is_not_synced_is_there_or_not() -> None:
    assert {OLD, NEW} <= set(at_the_end(*THERE, Write(0, 0, NEW)))


def test_a_write_is_torn_at_sectors_in_any_order_and_at_bytes() -> None:
    found = set(at_the_end(*THERE, Write(0, 0, NEW)))
    assert NEW[:512] + OLD[512:] in found
    assert OLD[:1536] + NEW[1536:] in found
    assert OLD[:512] + NEW[512:1024] + OLD[1024:] in found
    assert any(NEW[:n] + OLD[n:] in found for n in range(1, 2048) if n % 512)


def test_a_write_leaves_zeros_or_noise_at_worst_and_nothing_beside_itself() -> None:
    found = set(at_the_end(*THERE, Write(0, 512, NEW[:512])))
    assert OLD[:512] + bytes(512) + OLD[1024:] in found
    assert any(set(each[512:1024]) - set(b"on\0") for each in found if each)
    assert {(each[:512], each[1024:]) for each in found if each} == {(OLD[:512], OLD[1024:])}


def test_of_two_writes_the_second_may_be_there_alone() -> None:
    found = at_the_end(*THERE, Write(0, 0, b"1" * 512), Write(0, 512, b"2" * 512))
    assert OLD[:512] + b"2" * 512 + OLD[1024:] in found
    assert b"1" * 512 + OLD[512:] in found


def test_a_file_may_have_grown_without_its_bytes_or_not_have_grown_with_them() -> None:
    sizes = {len(each or b""): each for each in at_the_end(*THERE, Write(0, 2048, NEW))}
    assert {2048, 4096} <= set(sizes)
    assert any(2048 < size < 4096 for size in sizes)
    assert OLD + bytes(2048) in at_the_end(*THERE, Write(0, 2048, NEW))


def test_a_truncation_is_done_or_not() -> None:
    assert {OLD, OLD[:100]} <= set(at_the_end(*THERE, Resize(0, 100)))


def test_a_sync_covers_what_was_done_before_it_began_and_no_more() -> None:
    events = (*THERE, Write(0, 0, NEW[:512]), Write(0, 512, NEW[:512]), FileSynced(0, 5))
    found = at_the_end(*events)
    assert {each[:512] for each in found if each} == {NEW[:512]}
    assert {OLD[512:1024], NEW[:512]} <= {each[512:1024] for each in found if each}


def test_a_new_name_may_be_missing_until_the_folder_is_synced() -> None:
    new: Sequence[Event] = (Named("a", 0), Write(0, 0, OLD), FileSynced(0, 2))
    assert set(at_the_end(*new)) == {None, OLD}
    assert set(at_the_end(*new, NamesSynced(3))) == {OLD}


def test_a_deleted_file_may_come_back_until_the_folder_is_synced() -> None:
    assert set(at_the_end(*THERE, Named("a", None))) == {None, OLD}
    assert set(at_the_end(*THERE, Named("a", None), NamesSynced(5))) == {None}


def test_a_file_made_anew_may_still_be_the_old_one() -> None:
    again = (*THERE, Named("a", None), Named("a", 1), Write(1, 0, NEW), FileSynced(1, 7))
    assert set(at_the_end(*again)) == {None, OLD, NEW}


def test_a_state_has_the_marks_from_before_its_cut_and_as_many_as_it_can() -> None:
    events = (*THERE, Acknowledged(1), Write(0, 0, NEW), Acknowledged(2), Acknowledged(3))
    marks = {each.moment: each.acknowledged for each in left_of(*events)}
    assert marks == {0: (), 1: (), 2: (), 3: (), 5: (1,), 8: (1, 2, 3)}


def test_all_states_differ_and_a_seed_gives_the_same_again() -> None:
    events = (*THERE, Write(0, 0, NEW), Write(0, 2048, NEW))
    states = left_of(*events)
    assert len({(each.moment, tuple(each.files.items())) for each in states}) == len(states) == MANY
    assert left_of(*events) == states
    assert list(power_loss_states(events, seed=2, count=MANY)) != states


def test_a_short_story_has_few_states() -> None:
    found = left_of(Named("a", 0), FileSynced(0, 1), NamesSynced(2), Write(0, 0, b"n"))
    assert len(found) < MANY
    assert left_of() == [PowerLossState(moment=0, files={}, acknowledged=())]


# --- what is noted ----------------------------------------------------------------------


def test_what_was_noted_adds_up_to_the_files(tmp_path: Path) -> None:
    with RecordingDisk(tmp_path, pragmas={"wal_autocheckpoint": 20}) as disk:
        store = SqliteStore(tmp_path / "sessions.db", connect=disk.connect)
        for number in range(1, 20):
            row = row_of(prompt(number), sequence=number)
            store.commit(batch(R1, row, after=number - 1, fence=number))
        *_, last = sorted(disk.states(seed=1, count=1000), key=lambda each: each.moment)
        names = ("sessions.db", "sessions.db-wal")
        assert last.files == {name: (tmp_path / name).read_bytes() for name in names}
        store.close()


def test_a_database_that_was_there_before_is_safe(tmp_path: Path) -> None:
    folder, left = tmp_path / "disk", tmp_path / "left"
    folder.mkdir()
    left.mkdir()
    with RecordingDisk(folder) as disk:
        commit_some(disk, folder / "sessions.db")
    with RecordingDisk(folder) as disk:
        disk.acknowledged(30)
        (only,) = disk.states(seed=1, count=10)
        assert lost(iter([only]), left) == 0


def test_a_store_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    folder, left = tmp_path / "disk", tmp_path / "left"
    folder.mkdir()
    left.mkdir()
    with RecordingDisk(folder, pragmas={"wal_autocheckpoint": 20}) as disk:
        commit_some(disk, folder / "sessions.db")
    assert lost(disk.states(seed=1, count=300), left) == 0


def test_without_a_sync_for_each_commit_it_would(tmp_path: Path) -> None:
    folder, left = tmp_path / "disk", tmp_path / "left"
    folder.mkdir()
    left.mkdir()
    with RecordingDisk(folder, pragmas={"synchronous": "normal"}) as disk:
        commit_some(disk, folder / "sessions.db")
    assert lost(disk.states(seed=1, count=300), left) > 0


def test_a_file_of_another_folder_is_not_noted(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    with RecordingDisk(tmp_path / "disk") as disk:
        store = SqliteStore(tmp_path / "sessions.db", connect=disk.connect)
        store.acquire()
        store.close()
        assert len(disk) == 0


def test_a_state_replaces_the_files_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(OLD)
    PowerLossState(moment=0, files={"a": NEW}, acknowledged=()).write_to(tmp_path)
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"a": NEW}


def test_a_state_does_not_print_the_files() -> None:
    state = PowerLossState(moment=3, files={"a": b"secret"}, acknowledged=(1, 2))
    assert repr(state) == "PowerLossState(moment=3, files={'a': 6}, acknowledged=2 marks)"


@pytest.mark.parametrize("name", ["RecordingDisk", "PowerLossState", "apsw_connect"])
def test_the_kit_has_its_names(name: str) -> None:
    assert name in testing.__all__
    assert getattr(testing, name).__doc__
