"""Limits: every number that bounds something, each with its reason.

A limit that a host may set is a field of :class:`Limits`; one that is part of a format is
a constant.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any, Final

from attrs import Attribute, field, frozen, validators

JSON_DEPTH_MAX: Final = 32
"""Deepest nesting of a JSON value: far above real payloads, far below the stack."""

JSON_ENVELOPE_DEPTH_MAX: Final = 8
"""Levels the wire form may lay around a value, so that what was accepted can be read back."""

JSON_INT_MIN: Final = -(2**63)
JSON_INT_MAX: Final = 2**64 - 1
"""Integers that every reader of the wire form carries exactly."""

BATCH_INPUTS_MAX: Final = 64
"""Most inputs one run takes in hand, so that a burst cannot make a prompt without end."""

ARCHIVED_EPHEMERAL_MAX: Final = 10_000
"""Finished ephemeral inputs a loaded runtime remembers; no store remembers them."""

HOST_EVENT_IDS_MAX: Final = 1_024
"""Ids of published events a runtime remembers to drop duplicates: its event window."""

TEXT_BYTES_MAX: Final = 8 * 1024
"""Longest text kept of a run's error or progress, in bytes: a traceback, not a document."""


def _count(_instance: object, attribute: Attribute[Any], value: object) -> None:
    if type(value) is not int:
        raise TypeError(f"{attribute.name} takes an int, not {type(value).__name__}")
    if value < 0:
        raise ValueError(f"{attribute.name} is never negative")


def _positive_int(instance: object, attribute: Attribute[Any], value: object) -> None:
    _count(instance, attribute, value)
    if value == 0:
        raise ValueError(f"{attribute.name} is above 0")


@frozen(kw_only=True)
class Limits:
    """What a runtime and a control plane accept: positive integers, None where it says so.

    Raises TypeError or ValueError for a field of the wrong type or range.
    """

    payload_bytes_max: int = field(default=1024 * 1024, validator=_positive_int)
    """One input, encoded, in bytes."""
    pending_inputs_max: int = field(default=10_000, validator=_positive_int)
    """Non-terminal inputs of one runtime."""
    in_flight_max: int = field(default=100_000, validator=_positive_int)
    """Calls of one control plane whose answer is outstanding."""
    live_runtimes_max: int = field(default=100_000, validator=_positive_int)
    """Runtimes of one control plane that are in memory."""
    max_attempts: int = field(default=3, validator=_positive_int)
    """Runs of one input that may fail before it is abandoned."""
    crash_attempts_max: int = field(default=10, validator=_positive_int)
    """Attempts after which an input found in flight at recovery is abandoned."""
    operations_live_max: int | None = field(
        default=None, validator=validators.optional(_positive_int)
    )
    """Operations of one session that are live at a time; None: as many as it likes."""
    operations_kept_max: int = field(default=256, validator=_positive_int)
    """Ended operations of one session that can still be asked about."""
    feed_entries_max: int = field(default=1_024, validator=_positive_int)
    """Entries kept in the completion feed of one session."""
    events_per_runtime_max: int = field(default=1_024, validator=_positive_int)
    """Events kept for late readers, a runtime."""
    events_per_process_max: int = field(default=65_536, validator=_positive_int)
    """Events kept for late readers, in all."""


@frozen(kw_only=True)
class Backoff:
    """How long a failed input waits: ``base_s * 2 ** (attempt - 1)``, capped, jittered.

    The jitter keeps between half and all of the delay ("equal jitter", M. Brooker,
    "Exponential Backoff And Jitter", AWS Architecture Blog, 2015). Units are seconds.
    """

    base_s: float = field(default=0.1, validator=validators.ge(0))
    cap_s: float = field(default=30.0, validator=validators.ge(0))

    def delay_s(self, attempt: int, jitter: float) -> float:
        """The delay after the failed ``attempt`` (from 1); ``jitter`` is in [0, 1)."""
        exponent = min(attempt - 1, 62)
        ceiling = min(self.cap_s, self.base_s * 2.0**exponent)
        return float(ceiling * (0.5 + jitter / 2))


def _age(_instance: object, attribute: Attribute[Any], value: object) -> None:
    if type(value) not in (int, float):
        raise TypeError(f"{attribute.name} takes seconds, not {type(value).__name__}")
    if not (isinstance(value, int | float) and math.isfinite(value) and value >= 0):
        raise ValueError(f"{attribute.name} is 0 or above, and finite")


@frozen(kw_only=True)
class Retention:
    """How much of a runtime's past is kept whole; None for a bound that there is not.

    What is past either bound is cut down in the background, within minutes: an input to its
    identity and its ending, a run to nothing. Keys and ids deduplicate for ever. Raises
    TypeError or ValueError for a field of the wrong type or range.
    """

    max_age_s: float | None = field(default=None, validator=validators.optional(_age))
    """Seconds since an input ended."""
    max_count: int | None = field(default=None, validator=validators.optional(_count))
    """The last so many inputs that a runtime has queued, those that still wait among them."""

    @property
    def keeps_everything(self) -> bool:
        """Is there no bound?"""
        return self.max_age_s is None and self.max_count is None

    def lets_go(
        self, ended_at: datetime, sequence: int | None, next_sequence: int, now: datetime
    ) -> bool:
        """Is a finished input past a bound?

        ``sequence`` is its number in the order of admission, ``next_sequence`` the one that
        its runtime gives next. What was never queued has no number, and no place among the
        last ones.
        """
        if self.max_age_s is not None and self.is_old(ended_at, now):
            return True
        if self.max_count is None:
            return False
        return sequence is None or sequence < next_sequence - self.max_count

    def is_old(self, at: datetime, now: datetime) -> bool:
        """Is this longer ago than the age that is kept? Never without one."""
        return self.max_age_s is not None and (now - at).total_seconds() > self.max_age_s


DEFAULT_LIMITS: Final = Limits()
DEFAULT_BACKOFF: Final = Backoff()
KEEP_EVERYTHING: Final = Retention()
