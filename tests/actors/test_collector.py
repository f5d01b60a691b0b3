"""Full collections are put off for a while, and the host's setting is as it was after."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from plane_builders import OpenPlane

from actors import many_calls
from actors.collector import PUT_OFF, full_collections_put_off


@pytest.fixture(autouse=True)
def setting() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


def test_only_full_collections_are_put_off() -> None:
    with full_collections_put_off():
        assert gc.get_threshold() == (700, 10, 10 * PUT_OFF)
    assert gc.get_threshold() == (700, 10, 10)


def test_the_setting_is_restored_when_the_last_of_several_ends() -> None:
    first, second = full_collections_put_off(), full_collections_put_off()
    with first:
        second.__enter__()
    assert gc.get_threshold() == (700, 10, 10 * PUT_OFF)
    second.__exit__(None, None, None)
    assert gc.get_threshold() == (700, 10, 10)


def test_an_error_restores_it_too() -> None:
    with pytest.raises(KeyError), full_collections_put_off():
        raise KeyError
    assert gc.get_threshold() == (700, 10, 10)


def test_what_the_host_sets_meanwhile_stays() -> None:
    with full_collections_put_off():
        gc.set_threshold(1, 2, 3)
    assert gc.get_threshold() == (1, 2, 3)


@pytest.mark.parametrize("old", [0, 10])
def test_what_the_host_has_switched_off_stays_off(old: int) -> None:
    gc.set_threshold(0, 10, old)
    with full_collections_put_off():
        assert gc.get_threshold()[0] == 0
        assert (gc.get_threshold()[2] == 0) is (old == 0)
    assert gc.get_threshold() == (0, 10, old)


def test_registering_many_puts_them_off_and_registering_one_does_not(
    open_plane: OpenPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    wait_for = many_calls.wait_for

    def watched(*args: object) -> object:
        seen.append(gc.get_threshold()[2])
        return wait_for(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(many_calls, "wait_for", watched)
    plane = open_plane()
    plane.register_many([f"session-{number}" for number in range(3)])
    assert seen == [10 * PUT_OFF] * 3
    assert gc.get_threshold()[2] == 10
