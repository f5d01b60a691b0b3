"""Stores that freeze, or fail, when a test wants it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from plane_builders import WAIT_S

from meerkat.errors import StoreError
from meerkat.store import Batch, RuntimeStore


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


class FaultyDisk(StoreProxy):
    """A store whose ``fail_at``-th commit fails, before or after it really happened."""

    def __init__(
        self, inner: RuntimeStore, fail_at: int, error: BaseException, *, after: bool = False
    ) -> None:
        super().__init__(inner)
        self.commits = 0
        self._fail_at, self._error, self._after = fail_at, error, after

    @property
    def failed(self) -> bool:
        return self.commits >= self._fail_at

    def fail_next(self) -> None:
        self._fail_at = self.commits + 1

    def commit_many(self, batches: Sequence[Batch]) -> list[StoreError | None]:
        self.commits += 1
        if self.commits != self._fail_at:
            return super().commit_many(batches)
        if self._after:
            super().commit_many(batches)
        raise self._error


class BrokenOnce(FrozenDisk):
    """A store whose next commit is refused when a test says so; frozen before that."""

    def __init__(self, inner: RuntimeStore) -> None:
        super().__init__(inner)
        self._broken = False

    def break_next(self) -> None:
        self._broken = True

    def commit_many(self, batches: Sequence[Batch]) -> list[StoreError | None]:
        broken, self._broken = self._broken, False
        answers = super().commit_many([] if broken else batches)
        if broken:
            raise StoreError("disk full")
        return answers
