"""Reports: what a control operation did, in numbers. All fields are keywords."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class RecoveryReport:
    """What a recovery found and did; ``details`` has a line for each kind of action."""

    inputs_recovered: int = 0
    inputs_abandoned: int = 0
    inputs_requeued: int = 0
    details: tuple[str, ...] = ()


@frozen(kw_only=True)
class RetireReport:
    """Inputs given up, and inputs that will still be worked off."""

    inputs_abandoned: int = 0
    inputs_pending_drain: int = 0


@frozen(kw_only=True)
class ResetReport:
    """Inputs given up."""

    inputs_abandoned: int = 0


@frozen(kw_only=True)
class StopReport:
    """Inputs given up."""

    inputs_abandoned: int = 0


@frozen(kw_only=True)
class DestroyReport:
    """Inputs given up."""

    inputs_abandoned: int = 0


@frozen(kw_only=True)
class RecycleReport:
    """Inputs carried over."""

    inputs_transferred: int = 0
