"""Mishaps: whoever waits is told of what has failed for no reason that is known.

Host code is called where a feed is told of, and what carries the calls may raise what it never
said: the thread that meets with it goes on, as all who call over its line wait for it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from actors.logs import said_of, without_text
from actors.ray.errand import Errand
from meerkat.errors import CommitUnknown, InternalError

logger = logging.getLogger(__name__)


def tell_unknown(errands: Iterable[Errand], error: Exception) -> None:
    """The way to a shard has failed: nobody knows what becomes of these calls."""
    _log("a line to a shard failed, and begins anew: %s", error)
    for errand in errands:
        unknown = CommitUnknown(f"the way to the shard failed in the middle of {errand.name}")
        unknown.__cause__ = error
        _end(errand, unknown)


def tell_untold(errand: Errand, error: Exception) -> None:
    """What came of a call could not be told to whoever waits for it."""
    _log("a call could not be answered: %s", error)
    failure = InternalError(f"what came of {errand.name} could not be told: {said_of(error)}")
    failure.__cause__ = error
    _end(errand, failure)


def _end(errand: Errand, failure: BaseException) -> None:
    try:
        errand.failed(failure)
    except Exception as error:  # noqa: BLE001 - of a host's, who is told that a feed is over
        _log("who reads a feed could not be told that it is over: %s", error)


def _log(message: str, error: Exception) -> None:
    logger.error(message, said_of(error), exc_info=without_text(error))
