"""Settings of a plane: each is refused by name when its kind or its range is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from actors import ControlPlane
from meerkat.store import MemoryStore


@pytest.mark.parametrize(
    ("setting", "value", "error"),
    [
        ("max_concurrent_runs", "5", TypeError),
        ("max_concurrent_runs", 0, ValueError),
        ("grace_s", "5", TypeError),
        ("grace_s", -1, ValueError),
        ("grace_s", float("nan"), ValueError),
        ("run_deadline_s", "5", TypeError),
        ("run_deadline_s", 0, ValueError),
        ("stuck_after_s", float("inf"), ValueError),
        ("passivate_after", [], TypeError),
        ("passivate_after", 0, ValueError),
        ("limits", {}, TypeError),
        ("backoff", 0.1, TypeError),
        ("retention", None, TypeError),
        ("policy", object(), TypeError),
    ],
)
def test_a_setting_is_refused_by_its_name(setting: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=setting):
        ControlPlane(MemoryStore(), **{setting: value}).start()


def test_a_store_is_a_store() -> None:
    with pytest.raises(TypeError, match="a store is a RuntimeStore, not NoneType"):
        ControlPlane(None).start()  # type: ignore[arg-type]


def test_who_is_refused_a_setting_has_not_taken_the_store() -> None:
    store = MemoryStore()
    with pytest.raises(ValueError, match="grace_s"):
        ControlPlane(store, grace_s=-1).start()
    with ControlPlane(store):
        pass
