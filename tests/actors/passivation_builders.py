"""Builders: planes whose runtimes leave memory when a test says so."""

from __future__ import annotations

from typing import Any

from plane_builders import FakeClock, system_of
from plane_stores import StoreProxy

from actors import ControlPlane
from meerkat import LogicalRuntimeId
from meerkat.store import RuntimeStore

REST_S = 300.0


def is_live(plane: ControlPlane, runtime_id: str) -> bool:
    return LogicalRuntimeId(runtime_id) in system_of(plane).directory


def driver_of(plane: ControlPlane, runtime_id: str) -> Any:
    """The actor that drives a live runtime."""
    return system_of(plane).directory._drivers[LogicalRuntimeId(runtime_id)].actor_inbox._actor


def live(plane: ControlPlane) -> set[str]:
    return {str(runtime_id) for runtime_id in tuple(system_of(plane).directory._drivers)}


def passivations(plane: ControlPlane) -> int:
    count: int = system_of(plane).directory.passivated
    return count


def passivate(plane: ControlPlane, clock: FakeClock, *runtime_ids: str) -> None:
    """Let so much time pass that these are gone."""
    for runtime_id in runtime_ids:
        while is_live(plane, runtime_id):
            clock.advance(plane, REST_S)


def settle(plane: ControlPlane, *runtime_ids: str) -> None:
    """Wait until a driver that will rest does."""
    for runtime_id in runtime_ids:
        plane.runtime_state(runtime_id)


def stays(plane: ControlPlane, clock: FakeClock, runtime_id: str) -> bool:
    """Is it live still, after it had every chance to leave?"""
    for _ in range(3):
        settle(plane, runtime_id)
        clock.advance(plane, REST_S)
        clock.advance(plane, REST_S)
        if not is_live(plane, runtime_id):
            return False
    return True


class Watched(StoreProxy):
    """A store that says what was read of it."""

    def __init__(self, inner: RuntimeStore) -> None:
        super().__init__(inner)
        self.reads: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("load_", "page_", "list_", "runtimes_")):
            self.reads.append(name)
        return super().__getattr__(name)
