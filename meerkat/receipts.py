"""Receipts: what proves that a run applied its inputs.

A receipt is written in the same commit that consumes its contributors, under a sequence
number that its run never uses twice.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import field, frozen, validators

from meerkat.checks import unsigned
from meerkat.identifiers import InputId, RunId
from meerkat.policy import RunBoundary


def _boundary(value: RunBoundary | str) -> RunBoundary:
    return RunBoundary(value) if isinstance(value, str) else value


def _ids(value: Iterable[InputId]) -> tuple[InputId, ...]:
    return tuple(value)


@frozen(kw_only=True)
class RunBoundaryReceipt:
    """The proof of one boundary of one run.

    ``conversation_digest`` is the lower-case hex SHA-256 of the canonical JSON of the
    message list committed with it; None, and a count of 0, for opaque bytes.
    ``contributing_input_ids`` are in staging order. Raises TypeError for a wrong type and
    ValueError for a wrong range.
    """

    run_id: RunId = field(validator=validators.instance_of(RunId))
    boundary: RunBoundary = field(
        converter=_boundary, validator=validators.instance_of(RunBoundary)
    )
    contributing_input_ids: tuple[InputId, ...] = field(
        converter=_ids, validator=validators.deep_iterable(validators.instance_of(InputId))
    )
    conversation_digest: str | None = field(
        default=None, validator=validators.optional(validators.instance_of(str))
    )
    message_count: int = field(default=0, validator=unsigned)
    sequence: int = field(validator=unsigned)
