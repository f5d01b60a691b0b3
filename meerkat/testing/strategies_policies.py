"""Strategies for policies: decisions of any sort, and whole tables that can be followed."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Final

from attrs import evolve, frozen
from hypothesis import strategies as st

from meerkat.identifiers import PolicyVersion
from meerkat.inputs import HandlingMode, Input
from meerkat.origins import InputKind
from meerkat.policy import (
    ApplyMode,
    ConsumePoint,
    DrainPolicy,
    PolicyDecision,
    PolicyTable,
    QueueMode,
    RoutingDisposition,
    WakeMode,
)
from meerkat.testing.strategies_json import Strategy, counts

_DECISIONS: Final = st.builds(
    PolicyDecision,
    apply_mode=st.sampled_from(ApplyMode),
    wake_mode=st.sampled_from(WakeMode),
    queue_mode=st.sampled_from(QueueMode),
    consume_point=st.sampled_from(ConsumePoint),
    drain_policy=st.sampled_from(DrainPolicy),
    routing_disposition=st.sampled_from(RoutingDisposition),
    record_transcript=st.booleans(),
    emit_operator_content=st.booleans(),
    policy_version=counts().map(PolicyVersion),
)
_STAGED: Final = st.builds(
    PolicyDecision,
    apply_mode=st.sampled_from([ApplyMode.STAGE_RUN_START, ApplyMode.STAGE_RUN_BOUNDARY]),
    wake_mode=st.sampled_from(WakeMode),
    queue_mode=st.sampled_from([QueueMode.FIFO, QueueMode.COALESCE, QueueMode.SUPERSEDE]),
    consume_point=st.just(ConsumePoint.ON_RUN_COMPLETE),
    drain_policy=st.sampled_from(DrainPolicy),
    routing_disposition=st.sampled_from(
        [RoutingDisposition.QUEUE, RoutingDisposition.STEER, RoutingDisposition.IMMEDIATE]
    ),
    record_transcript=st.booleans(),
)
_IGNORED: Final = PolicyDecision(
    apply_mode=ApplyMode.IGNORE,
    wake_mode=WakeMode.NONE,
    queue_mode=QueueMode.NONE,
    consume_point=ConsumePoint.ON_ACCEPT,
    drain_policy=DrainPolicy.IGNORE,
    routing_disposition=RoutingDisposition.DROP,
)


@frozen
class DrawnPolicy:
    """A policy that was drawn: a decision for each (kind, requested mode, running). Pure.

    ``rows`` has those that differ from ``otherwise``.
    """

    otherwise: PolicyDecision
    rows: Mapping[tuple[InputKind, HandlingMode | None, bool], PolicyDecision]

    def resolve(self, input: Input, *, running: bool) -> PolicyDecision:  # noqa: A002
        """Look the decision up."""
        return self.rows.get((input.kind, input.requested_mode, running), self.otherwise)


_PLACES: Final = tuple(product(InputKind, (None, *HandlingMode), (False, True)))


def decisions(*, followable: bool = False) -> Strategy[PolicyDecision]:
    """Every decision that can be written down; only those a runtime can carry out if asked."""
    return _STAGED | st.just(_IGNORED) if followable else _DECISIONS


def policies() -> Strategy[PolicyTable]:
    """Policies a runtime can follow, most of them unlike the default."""
    waking = _STAGED.map(lambda decision: evolve(decision, wake_mode=WakeMode.WAKE_IF_IDLE))
    rows = st.dictionaries(
        st.sampled_from(_PLACES), decisions(followable=True), min_size=1, max_size=8
    )
    return st.builds(DrawnPolicy, waking, rows)
