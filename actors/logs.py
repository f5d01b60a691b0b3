"""Logs: what a record says beside its text, which is ids and sizes, and how an error is logged.

A record about a runtime, a run or an input has their ids as fields, for whoever collects records
as JSON. The text of an error is the host's, or may quote what somebody sent, so it is no part of
any record: an error is logged by its type and its frames. Nothing here configures logging.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from types import TracebackType
from typing import Final, TypeAlias, TypedDict, Unpack

from meerkat.errors import RecoveryCorruption, StoreError
from meerkat.identifiers import InputId, LogicalRuntimeId, RunId, RuntimeEpochId

ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None]

_OURS: Final = (StoreError, RecoveryCorruption)
"""Errors whose text is written here, or by the database, and names rows and not what they hold."""


class Fields(TypedDict, total=False):
    """The fields that a record may have. Ids are texts there; times are in seconds."""

    runtime_id: LogicalRuntimeId | None
    run_id: RunId
    input_id: InputId
    epoch_id: RuntimeEpochId
    attempt: int
    inputs: int
    runs: int
    runtimes: int
    inputs_recovered: int
    inputs_abandoned: int
    inputs_requeued: int
    inputs_transferred: int
    inputs_pending_drain: int
    delay_s: float
    seconds: float
    error_type: str
    error_code: str
    owner: str


def about(**fields: Unpack[Fields]) -> dict[str, object]:
    """The fields of a record: its ``extra``."""
    return {
        name: value if isinstance(value, str | int | float) else str(value)
        for name, value in fields.items()
        if value is not None
    }


def say(
    logger: logging.Logger, level: int, text: str, *args: object, **fields: Unpack[Fields]
) -> None:
    """Log what happens in the life of a runtime; a handler that raises changes nothing of it."""
    if logger.isEnabledFor(level):
        with suppress(Exception):
            logger.log(level, text, *args, extra=about(**fields), stacklevel=2)


def said_of(error: BaseException) -> str:
    """What may be logged of an error: its text if that is ours, else its type."""
    return str(error) if isinstance(error, _OURS) else _named(error)


def without_text(error: BaseException) -> ExcInfo:
    """An error for ``exc_info``: its type and its frames; what led to it is left out, too."""
    stand_in = TextWithheld(said_of(error))
    return TextWithheld, stand_in, error.__traceback__


class TextWithheld(Exception):
    """Stands in a log for an error whose text may quote what somebody sent."""


def _named(error: BaseException) -> str:
    name = type(error).__name__
    number = error.errno if isinstance(error, OSError) else None
    return name if number is None else f"{name} (errno {number})"
