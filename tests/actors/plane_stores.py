"""Stores that freeze, or fail, when a test wants it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from plane_builders import WAIT_S

from meerkat.errors import StoreError
from meerkat.store import Batch, RuntimeStore
from meerkat.testing import FaultyStore, disk_full
from meerkat.testing.store_wrapper import COMMITS


class StoreProxy:
    """A store before another one."""

    def __init__(self, inner: RuntimeStore) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def commit_many(self, batches: Sequence[Batch]) -> list[StoreError | None]:
        return self.inner.commit_many(batches)


class FrozenDisk(StoreProxy):
    """A store whose commits stand still while it is frozen."""

    def __init__(self, inner: RuntimeStore) -> None:
        super().__init__(inner)
        self.stuck = threading.Event()
        self._thawed = threading.Event()
        self._thawed.set()
        self.commits = 0

    def freeze(self) -> None:
        self.stuck.clear()
        self._thawed.clear()

    def thaw(self) -> None:
        self._thawed.set()

    def commit_many(self, batches: Sequence[Batch]) -> list[StoreError | None]:
        self.commits += 1
        if not self._thawed.is_set():
            self.stuck.set()
            self._thawed.wait(WAIT_S * 3)
        return super().commit_many(batches)


class BrokenOnce(FrozenDisk):
    """A store whose next commit is refused when a test says so; frozen before that."""

    def __init__(self, inner: RuntimeStore) -> None:
        self._broken = FaultyStore(inner, error=disk_full, calls=COMMITS)
        super().__init__(self._broken)

    def break_next(self) -> None:
        self._broken.fail_next()
