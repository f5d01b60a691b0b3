"""Watching: what becomes of a runtime's driver is told, first how things stand; dead letters."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from passivation_builders import driver_of, is_live
from plane_builders import (
    WAIT_S,
    FakeClock,
    OpenPlane,
    prompt,
    result_of,
    system_of,
)
from plane_stores import StoreProxy
from restart_builders import Plant, drivers, fail, notice, notices_until

from actors import ControlPlane, NoticeKind, RuntimeNotice, RuntimeWatch
from actors import messages as m
from actors.dead_letters import DEAD_LETTERS_KEPT
from actors.watching import NOTICES_MAX
from meerkat import LogicalRuntimeId, RunId
from meerkat.errors import (
    ControlPlaneStopped,
    Fenced,
    RuntimeNotFound,
    RuntimeUnavailable,
    StoreError,
)
from meerkat.store import Batch, SqliteStore

A = LogicalRuntimeId("a")
RESTARTED, SET_ASIDE = NoticeKind.RESTARTED, NoticeKind.SET_ASIDE
BROUGHT_BACK, ENDED = NoticeKind.BROUGHT_BACK, NoticeKind.ENDED


def kinds(notices: Sequence[RuntimeNotice]) -> list[NoticeKind]:
    return [each.kind for each in notices]


def ended(watch: RuntimeWatch) -> str | None:
    """Why it ended; behind that nothing comes, however long one waits."""
    told = notice(watch)
    assert told.kind is ENDED
    assert watch.closed
    assert list(watch) == []
    return told.reason


# --- what is told -----------------------------------------------------------------------


def test_a_runtimes_whole_story_is_told_in_order(open_plane: OpenPlane, plant: Plant) -> None:
    plane = open_plane(restart=drivers(2))
    plane.register_many(["a", "b"])
    watch, of_b, of_all = plane.watch("a"), plane.watch("b"), plane.watch()
    plant("a")
    fail(plane, "a", times=3)
    told = notices_until(watch, SET_ASIDE)
    assert kinds(told) == [RESTARTED, RESTARTED, SET_ASIDE]
    assert [each.restart_in_s is None for each in told] == [False, False, True]
    assert {each.runtime_id for each in told} == {A}
    plane.recover("a", timeout=WAIT_S)
    plane.destroy("a", timeout=WAIT_S)
    assert notice(watch).kind is BROUGHT_BACK
    assert ended(watch) == "runtime destroyed"
    heard = [notice(of_all) for _ in range(5)]
    assert kinds(heard) == [*kinds(told), BROUGHT_BACK, ENDED]
    assert [each.at for each in heard] == sorted(each.at for each in heard)
    assert of_b.next_ready() is None
    assert not of_all.closed


def test_of_one_that_is_set_aside_that_is_told_first(open_plane: OpenPlane, plant: Plant) -> None:
    plane = open_plane(restart=drivers(0))
    plane.register("a")
    plant("a")
    before = plane.watch("a")
    fail(plane, "a")
    first = notices_until(before, SET_ASIDE)[-1]
    watch = plane.watch("a")
    stands = notice(watch)
    assert (stands.kind, stands.reason) == (SET_ASIDE, first.reason)
    plane.recover("a", timeout=WAIT_S)
    assert notice(watch).kind is BROUGHT_BACK
    late = plane.watch("a")
    assert late.next_ready() is None  # all is well with it


def test_of_one_that_was_destroyed_that_is_told_first(plane: ControlPlane) -> None:
    plane.destroy("a")
    assert ended(plane.watch("a")) == "runtime destroyed"


def test_unregistering_is_an_end_and_then_it_is_unknown(plane: ControlPlane) -> None:
    watch = plane.watch("a")
    plane.unregister("a")
    assert ended(watch) == "runtime session unregistered"
    for name in ("a", "never-was"):
        with pytest.raises(RuntimeNotFound):
            plane.watch(name)


@pytest.mark.parametrize("call", ["reset", "stop_runtime", "retire", "recycle"])
def test_a_runtime_that_lives_on_has_not_ended(plane: ControlPlane, call: str) -> None:
    with plane.watch("a") as watch:
        getattr(plane, call)("a")
        plane.runtime_state("a")
        assert watch.next_ready() is None
        assert not watch.closed


class Stolen(StoreProxy):
    """A store in which somebody else has a runtime."""

    by_others = False

    def commit_many(self, batches: Sequence[Batch]) -> list[StoreError | None]:
        if self.by_others:
            return [Fenced(batch.runtime.runtime_id) for batch in batches]
        return super().commit_many(batches)


def test_of_one_that_was_taken_over_the_end_is_told_until_it_is_taken_back(
    open_plane: OpenPlane, path: Path
) -> None:
    store = Stolen(SqliteStore(path))
    plane = open_plane(store=store)
    plane.register("a")
    watch = plane.watch("a")
    store.by_others = True
    with pytest.raises(Fenced):
        plane.ingest("a", prompt(), timeout=WAIT_S)
    store.by_others = False
    assert ended(watch) == ended(plane.watch("a")) == "taken over"
    plane.recover("a", timeout=WAIT_S)
    assert plane.watch("a").next_ready() is None


def test_the_end_of_the_plane_is_every_runtimes(plane: ControlPlane) -> None:
    plane.register("b")
    of_a, of_b, of_all = plane.watch("a"), plane.watch("b"), plane.watch()
    plane.stop()
    assert ended(of_a) == ended(of_b) == "control plane stopped"
    assert list(of_all) == []
    with pytest.raises(ControlPlaneStopped):
        plane.watch("a")


def test_a_row_that_cannot_be_read_is_told_and_nothing_is_changed(
    open_plane: OpenPlane, path: Path
) -> None:
    first = open_plane()
    first.register("a")
    first.ingest("a", prompt())
    first.stop()
    corrupt(path)
    before = path.read_bytes()
    plane = open_plane(clock=FakeClock())
    with plane.watch() as of_all:
        for _ in range(20):  # however often: it is the file's fault, and that does not change
            with pytest.raises(StoreError, match="Recovery corruption"):
                plane.runtime_state("a")
        watch = plane.watch("a")
        stands = notice(watch)
        assert stands.kind is SET_ASIDE
        assert stands.reason is not None
        with pytest.raises(StoreError) as refused:
            plane.recover("a", timeout=WAIT_S)
        assert not isinstance(refused.value, RuntimeUnavailable)
        assert notice(of_all).reason is not None
    plane.stop()
    assert path.read_bytes() == before


def corrupt(path: Path) -> None:
    """Spoil the only input of a database."""
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE inputs SET state = '{}'")
    connection.close()


# --- readers ----------------------------------------------------------------------------


@pytest.mark.parametrize("of", ["a", None])
def test_a_blocked_reader_returns_when_another_thread_closes(
    plane: ControlPlane, of: str | None
) -> None:
    watch = plane.watch(of)
    read: list[RuntimeNotice] = []
    reader = threading.Thread(target=lambda: read.extend(watch), daemon=True)
    reader.start()
    watch.close()
    watch.close()
    reader.join(WAIT_S)
    assert not reader.is_alive()
    assert read == []
    assert not system_of(plane).watchers._open


def test_a_reader_that_never_comes_keeps_the_latest_and_the_end(
    open_plane: OpenPlane, plant: Plant
) -> None:
    plane = open_plane(restart=drivers(10_000))
    plane.register("a")
    watch = plane.watch("a")
    watchers = system_of(plane).watchers
    for number in range(NOTICES_MAX + 10):
        watchers.tell(A, RESTARTED, str(number))
    plane.stop()
    kept = list(watch)
    assert len(kept) == NOTICES_MAX
    assert kept[0].reason == "11"
    assert kept[-1].kind is ENDED


# --- dead letters -----------------------------------------------------------------------


def test_a_word_to_a_driver_that_has_gone_is_counted_by_its_kind_alone(
    plane: ControlPlane,
) -> None:
    result_of(plane.submit("a", prompt("a secret")).completion)
    driver = driver_of(plane, "a")
    plane.unregister("a")
    while is_live(plane, "a"):
        pass
    assert (plane.dead_letters().count, plane.dead_letters().latest) == (0, ())
    driver.tell(m.RunProgressed(RunId.new(), "a secret"))
    read = plane.dead_letters()
    assert read.count == 1
    (letter,) = read.latest
    assert (letter.runtime_id, letter.message) == (A, "RunProgressed")
    assert "secret" not in repr(letter)


def test_all_dead_letters_are_counted_and_the_latest_kept(plane: ControlPlane) -> None:
    box = system_of(plane).dead_letters
    for number in range(DEAD_LETTERS_KEPT + 10):
        box.put(LogicalRuntimeId(f"r{number}"), m.Resume())
    read = plane.dead_letters()
    assert read.count == DEAD_LETTERS_KEPT + 10
    assert len(read.latest) == DEAD_LETTERS_KEPT
    assert read.latest[0].runtime_id == LogicalRuntimeId("r10")


def test_a_call_that_comes_too_late_is_no_dead_letter(plane: ControlPlane) -> None:
    plane.stop()
    with pytest.raises(ControlPlaneStopped):
        plane.runtime_state("a")
    assert plane.dead_letters().count == 0
