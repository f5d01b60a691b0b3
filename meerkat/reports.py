"""Reports: what a control operation did, in numbers. All fields are keywords."""

from __future__ import annotations

from collections.abc import Iterable
from types import NoneType
from typing import Any

from attrs import field, frozen, validators

from meerkat.checks import of_kind, unsigned
from meerkat.identifiers import InputId
from meerkat.words import Word


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


class SkipReason(Word):
    """Why an input that was asked for was not redriven."""

    UNKNOWN = "unknown"
    """The runtime knows no such input."""
    NOT_ABANDONED = "not_abandoned"
    """It was not given up; the detail is how far it came."""
    REDRIVEN_ALREADY = "redriven_already"
    """It came back before; the detail is as which input."""
    PAYLOAD_GONE = "payload_gone"
    """What it said was let go, or was never stored: it was ephemeral."""
    REFUSED = "refused"
    """What it said is not taken in any more; the detail says why."""


@frozen(kw_only=True)
class RedrivenInput:
    """An input that was given up, and as which it is back."""

    input_id: InputId = field(validator=of_kind(InputId))
    redriven_as: InputId = field(validator=of_kind(InputId))


@frozen(kw_only=True)
class SkippedInput:
    """An input that did not come back, and why."""

    input_id: InputId = field(validator=of_kind(InputId))
    reason: SkipReason = field(validator=of_kind(SkipReason))
    detail: str | None = field(default=None, validator=of_kind(str, NoneType))


@frozen(kw_only=True)
class RedriveReport:
    """The inputs that are back, in the order of their admission, and those that are not."""

    redriven: tuple[RedrivenInput, ...] = ()
    skipped: tuple[SkippedInput, ...] = ()
