"""Many at once: registering more runtimes than may be on their way together."""

from __future__ import annotations

from pathlib import Path

import pytest
from plane_builders import WAIT_S, OpenPlane
from plane_stores import FrozenDisk

from actors import many_calls
from meerkat.errors import CallTimedOut, InvalidState
from meerkat.identifiers import LogicalRuntimeId
from meerkat.store import SqliteStore

MANY = [f"session-{number:02d}" for number in range(23)]


@pytest.fixture(autouse=True)
def few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many_calls, "OUTSTANDING_MAX", 4)


def test_all_are_registered_and_their_bindings_come_in_the_order_given(
    open_plane: OpenPlane,
) -> None:
    plane = open_plane()
    backwards = MANY[::-1]
    bindings = plane.register_many(backwards, timeout=WAIT_S)
    assert [each.session_id for each in bindings] == [
        plane.register(name).session_id for name in backwards
    ]
    assert len({each.session_id for each in bindings}) == len(MANY)
    assert plane.register_many([]) == []


def test_where_some_are_refused_the_first_refusal_is_raised_and_the_others_are_registered(
    open_plane: OpenPlane,
) -> None:
    plane = open_plane()
    gone = (MANY[1], MANY[-2])
    for name in gone:
        plane.register(name)
        plane.destroy(name)
    with pytest.raises(InvalidState):
        plane.register_many(MANY, timeout=WAIT_S)
    for name in MANY:
        if name not in gone:
            plane.runtime_state(name)


def test_one_that_is_no_name_is_refused_before_any_is_sent(open_plane: OpenPlane) -> None:
    store_of_none = open_plane()
    with pytest.raises(ValueError, match="bad runtime id"):
        store_of_none.register_many([*MANY, "no name"])
    assert store_of_none._life.system.store.list_runtimes().items == ()


def test_a_caller_whose_time_is_up_has_sent_all_of_them(open_plane: OpenPlane, path: Path) -> None:
    disk = FrozenDisk(SqliteStore(path))
    plane = open_plane(store=disk)
    disk.freeze()
    with pytest.raises(CallTimedOut, match=r"within 0\.05 s"):
        plane.register_many(MANY, timeout=0.05)
    disk.thaw()
    for name in MANY:
        plane.runtime_state(name, timeout=WAIT_S)
        assert disk.load_runtime(LogicalRuntimeId(name)) is not None
