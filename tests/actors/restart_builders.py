"""Builders for restarts: defects that are planted in drivers, and disks that refuse some of them.

A planted defect raises in the handler of one kind of message, for the runtimes it is planted
for and no other: everything else of the plane is as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from plane_builders import WAIT_S
from plane_stores import StoreProxy

from actors import ControlPlane, RestartPolicy, Restarts, Strategy
from actors import messages as m
from actors.driver import DriverActor
from actors.driver_messages import _HANDLERS
from actors.watching import NoticeKind, RuntimeNotice, RuntimeWatch
from meerkat.errors import InternalError, StoreError
from meerkat.limits import Backoff
from meerkat.store import Batch, RuntimeStore

PAUSE_S = 1.0
"""The pause after the first failure, with a clock that has no jitter; then it doubles."""

Plant = Callable[..., "Defect"]
"""Plants a defect for the rest of the test: for runtimes, in the handler of a message."""


def rule(intensity: int = 2, **more: Any) -> Restarts:
    """Few restarts, a pause of PAUSE_S before the first."""
    return Restarts(intensity=intensity, backoff=Backoff(base_s=2 * PAUSE_S), **more)


def drivers(intensity: int = 2, **more: Any) -> RestartPolicy:
    """How drivers are restarted."""
    return RestartPolicy(drivers=rule(intensity, **more))


def journals(intensity: int = 2, **more: Any) -> RestartPolicy:
    """How the journal is restarted; its drivers as often as need be."""
    return RestartPolicy(drivers=rule(1_000), journal=rule(intensity, **more))


def at_once(intensity: int = 1_000_000, strategy: Strategy = Strategy.ONE_FOR_ONE) -> Restarts:
    """Restarts without a pause, and as good as without an end."""
    return Restarts(
        strategy=strategy, intensity=intensity, period_s=3600.0, backoff=Backoff(base_s=0.0)
    )


# --- defects ----------------------------------------------------------------------------


class Defect:
    """Raises where some runtimes handle a message, while it is armed."""

    def __init__(
        self,
        handler: Callable[[DriverActor, Any], None],
        runtimes: tuple[str, ...],
        error: Callable[[], BaseException],
        *,
        after: bool,
    ) -> None:
        self._handler, self._runtimes, self._error = handler, runtimes, error
        self._after = after
        self.armed = True
        self.raised = 0

    def __call__(self, driver: DriverActor, message: Any) -> None:
        hit = self.armed and str(driver.runtime_id) in self._runtimes
        if not hit or self._after:
            self._handler(driver, message)
        if hit:
            self.raised += 1
            raise self._error()


def defect() -> BaseException:
    return ZeroDivisionError("a defect")


def planter(monkeypatch: pytest.MonkeyPatch) -> Plant:
    """What plants defects; ``fail`` needs one in ExecutorReady, which is the default."""

    def planted(
        *runtimes: str,
        message: type = m.ExecutorReady,
        error: Callable[[], BaseException] = defect,
        after: bool = False,
    ) -> Defect:
        found = Defect(_HANDLERS[message], runtimes, error, after=after)
        monkeypatch.setitem(_HANDLERS, message, found)  # type: ignore[arg-type]
        return found

    return planted


def fail(plane: ControlPlane, runtime_id: str, *, times: int = 1) -> None:
    """Have a driver fail in which a defect is planted."""
    for _ in range(times):
        with pytest.raises(InternalError, match="ZeroDivisionError while handling ExecutorReady"):
            plane.executor_ready(runtime_id, timeout=WAIT_S)


# --- notices ----------------------------------------------------------------------------


def notice(watch: RuntimeWatch) -> RuntimeNotice:
    """The next one."""
    found = watch.next_within(WAIT_S)
    assert found is not None
    return found


def notices_until(watch: RuntimeWatch, kind: NoticeKind) -> list[RuntimeNotice]:
    """The notices up to the first of a kind."""
    found = [notice(watch)]
    while found[-1].kind is not kind:
        found.append(notice(watch))
    return found


def pauses(notices: Sequence[RuntimeNotice]) -> list[float | None]:
    """The pauses that were told of."""
    return [each.restart_in_s for each in notices if each.kind is NoticeKind.RESTARTED]


# --- disks ------------------------------------------------------------------------------


class Refusing(StoreProxy):
    """A store that refuses the commits of some runtimes; of all, for None."""

    def __init__(self, inner: RuntimeStore) -> None:
        super().__init__(inner)
        self.refused: set[str] | None = set()
        self.error: Callable[[], StoreError] = lambda: StoreError("disk full")
        self.refusals = 0

    def commit_many(self, batches: Sequence[Batch]) -> list[StoreError | None]:
        answers: list[StoreError | None] = []
        for batch in batches:
            if self.refused is None or str(batch.runtime.runtime_id) in self.refused:
                self.refusals += 1
                answers.append(self.error())
            else:
                answers += super().commit_many([batch])
        return answers


class Breaking(StoreProxy):
    """A store whose commits raise while they are to, before or after they have happened."""

    def __init__(self, inner: RuntimeStore) -> None:
        super().__init__(inner)
        self.left = 0
        self.error: Callable[[], BaseException] = lambda: RuntimeError("a binding's defect")
        self.after = False
        self.broke = 0

    def break_next(self, times: int = 1, *, after: bool = False) -> None:
        self.left, self.after = times, after

    def commit_many(self, batches: Sequence[Batch]) -> list[StoreError | None]:
        if not self.left:
            return super().commit_many(batches)
        self.left -= 1
        self.broke += 1
        if self.after:
            super().commit_many(batches)
        raise self.error()


def open_files() -> int:
    """Files that this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
