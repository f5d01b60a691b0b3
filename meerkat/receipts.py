"""Receipts: what proves that a run applied its inputs.

A receipt is written in the same commit that consumes its contributors, under a sequence
number that its run never uses twice.
"""

from __future__ import annotations

from attrs import field, frozen, validators

from meerkat.identifiers import InputId, RunId
from meerkat.limits import JSON_INT_MAX
from meerkat.policy import RunBoundary


@frozen(kw_only=True)
class RunBoundaryReceipt:
    """The proof of one boundary of one run.

    ``conversation_digest`` is the lower-case hex SHA-256 of the canonical JSON of the
    message list committed with it; None, and a count of 0, for opaque bytes.
    ``contributing_input_ids`` are in staging order.
    """

    run_id: RunId
    boundary: RunBoundary
    contributing_input_ids: tuple[InputId, ...]
    conversation_digest: str | None = None
    message_count: int = field(default=0, validator=[validators.instance_of(int), validators.ge(0)])
    sequence: int = field(
        validator=[
            validators.instance_of(int),
            validators.ge(0),
            validators.le(JSON_INT_MAX),
        ]
    )
