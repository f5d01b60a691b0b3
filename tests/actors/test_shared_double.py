"""The shared store in memory, by which sharing is tested, keeps what a shared one promises."""

from __future__ import annotations

from pathlib import Path

from shared_double import SharedMemory, SharedView

from meerkat.store.sharing import Sharing
from meerkat.testing import SharedStoreConformance

_DATABASES: dict[Path, SharedMemory] = {}


class TestSharedMemory(SharedStoreConformance):
    def open_shared(self, place: Path, sharing: Sharing) -> SharedView:
        return _DATABASES.setdefault(place, SharedMemory()).joining(sharing)

    def end_lease(self, place: Path, name: str) -> None:
        for view in _DATABASES[place].views:
            if view.sharing.name == name:
                view.lose_lease()
