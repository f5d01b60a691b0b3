"""Settings: what a control plane can be told when it is made, as one checked value.

Whoever makes a plane, or puts its supervisor into a tree, gives these by name. A setting of
the wrong kind is a TypeError, one out of range a ValueError; both name the setting.
"""

from __future__ import annotations

import asyncio
import threading
from types import NoneType
from typing import Any, Final, TypedDict

from attrs import Attribute, evolve, field, frozen

from actors.clock import Clock
from actors.restarts import DEFAULT_RESTART, RestartPolicy
from actors.threaded import DriverThreads
from actors.tracing import Tracing
from meerkat.checks import kind_of, of_kind
from meerkat.limits import (
    DEFAULT_BACKOFF,
    DEFAULT_LIMITS,
    KEEP_EVERYTHING,
    Backoff,
    Limits,
    Retention,
)
from meerkat.policy import DEFAULT_POLICY, PolicyTable

MAX_CONCURRENT_RUNS: Final = 64
"""Runs under way at a time: executors mostly wait for somebody else."""

GRACE_S: Final = 5.0
"""Seconds that host code is given to return once it has been told to."""

STUCK_AFTER_S: Final = 120.0
"""Seconds without a sign after which a run is shown with its stack: longer than most calls."""

PASSIVATE_AFTER_S: Final = 300.0
"""Seconds that a runtime is kept in memory though nothing is asked of it."""

STOP_TIMEOUT_S: Final = 30.0
"""Seconds that the runs in hand are given to end by themselves at a stop."""


def _at_least_one(_settings: object, attribute: Attribute[Any], value: Any) -> None:
    if not isinstance(value, int):
        raise TypeError(f"{attribute.name} is a number, not {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{attribute.name} is at least 1")


def _seconds(_settings: object, attribute: Attribute[Any], value: Any) -> None:
    if not isinstance(value, int | float):
        raise TypeError(f"{attribute.name} takes seconds, not {type(value).__name__}")
    if not 0 <= value <= threading.TIMEOUT_MAX:
        raise ValueError(f"{attribute.name} is 0 or above, and can be waited for")


def _seconds_or_none(_settings: object, attribute: Attribute[Any], value: Any) -> None:
    name = attribute.name
    if not isinstance(value, int | float | None):
        raise TypeError(f"{name} takes seconds or None, not {type(value).__name__}")
    if value is not None and not 0 < value <= threading.TIMEOUT_MAX:
        raise ValueError(f"{name} is above 0 and can be waited for, or it is None")


def _a_clock_or_none(_settings: object, _attribute: Attribute[Any], value: Any) -> None:
    names = ("now", "monotonic", "jitter")
    if value is not None and not all(callable(getattr(value, name, None)) for name in names):
        raise TypeError(f"a clock has {', '.join(names)}; not {kind_of(value)}")


def _a_policy(_settings: object, _attribute: Attribute[Any], value: Any) -> None:
    if not callable(getattr(value, "resolve", None)):
        raise TypeError(f"a policy has resolve(), not {type(value).__name__}")


def _a_loop_or_none(_settings: object, _attribute: Attribute[Any], value: Any) -> None:
    if not isinstance(value, asyncio.AbstractEventLoop | None):
        raise TypeError(f"loop is an event loop or None, not {type(value).__name__}")


def _a_tracing_or_none(_settings: object, _attribute: Attribute[Any], value: Any) -> None:
    names = ("offered", "run_begins", "noticed")
    if value is not None and not all(callable(getattr(value, name, None)) for name in names):
        raise TypeError(f"tracing has {', '.join(names)}, or is None; not {type(value).__name__}")


class SettingsByName(TypedDict, total=False):
    """The same by name, for whoever passes them on."""

    clock: Clock | None
    max_concurrent_runs: int
    limits: Limits
    backoff: Backoff
    policy: PolicyTable
    grace_s: float
    run_deadline_s: float | None
    stuck_after_s: float | None
    passivate_after: float | None
    drivers: DriverThreads
    retention: Retention
    restart: RestartPolicy | None
    tracing: Tracing | None
    loop: asyncio.AbstractEventLoop | None


@frozen(kw_only=True)
class Settings:
    """How a control plane works; what each setting does is said by ``ControlPlane``."""

    clock: Clock | None = field(default=None, validator=_a_clock_or_none)
    max_concurrent_runs: int = field(default=MAX_CONCURRENT_RUNS, validator=_at_least_one)
    limits: Limits = field(default=DEFAULT_LIMITS, validator=of_kind(Limits))
    backoff: Backoff = field(default=DEFAULT_BACKOFF, validator=of_kind(Backoff))
    policy: PolicyTable = field(default=DEFAULT_POLICY, validator=_a_policy)
    grace_s: float = field(default=GRACE_S, validator=_seconds)
    run_deadline_s: float | None = field(default=None, validator=_seconds_or_none)
    stuck_after_s: float | None = field(default=STUCK_AFTER_S, validator=_seconds_or_none)
    passivate_after: float | None = field(default=PASSIVATE_AFTER_S, validator=_seconds_or_none)
    drivers: DriverThreads = field(default=DriverThreads.POOLED, converter=DriverThreads)
    retention: Retention = field(default=KEEP_EVERYTHING, validator=of_kind(Retention))
    loop: asyncio.AbstractEventLoop | None = field(default=None, validator=_a_loop_or_none)
    tracing: Tracing | None = field(default=None, validator=_a_tracing_or_none)
    restart: RestartPolicy | None = field(default=None, validator=of_kind(RestartPolicy, NoneType))

    @property
    def restart_policy(self) -> RestartPolicy:
        """How parts are restarted; unless it is given, as by default, with the same back-off."""
        if self.restart is not None:
            return self.restart
        return RestartPolicy(
            drivers=evolve(DEFAULT_RESTART.drivers, backoff=self.backoff),
            journal=evolve(DEFAULT_RESTART.journal, backoff=self.backoff),
        )
