"""Reports: what a control operation did, in numbers. All fields are keywords."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from attrs import field, frozen, validators

from meerkat.checks import unsigned


def _lines(value: Iterable[str]) -> list[str]:
    return list(value) if isinstance(value, list | tuple) else value  # type: ignore[return-value]


def _count() -> Any:
    return field(default=0, validator=unsigned)


@frozen(kw_only=True)
class RecoveryReport:
    """What a recovery found and did; ``details`` has a line for each kind of action."""

    inputs_recovered: int = _count()
    inputs_abandoned: int = _count()
    inputs_requeued: int = _count()
    details: list[str] = field(
        factory=list,
        converter=_lines,
        validator=validators.deep_iterable(
            validators.instance_of(str), validators.instance_of(list)
        ),
    )


@frozen(kw_only=True)
class RetireReport:
    """Inputs given up, and inputs that will still be worked off."""

    inputs_abandoned: int = _count()
    inputs_pending_drain: int = _count()


@frozen(kw_only=True)
class ResetReport:
    """Inputs given up."""

    inputs_abandoned: int = _count()


@frozen(kw_only=True)
class StopReport:
    """Inputs given up."""

    inputs_abandoned: int = _count()


@frozen(kw_only=True)
class DestroyReport:
    """Inputs given up."""

    inputs_abandoned: int = _count()


@frozen(kw_only=True)
class RecycleReport:
    """Inputs carried over."""

    inputs_transferred: int = _count()
