"""Strategies: every value of meerkat's that a test may want, for Hypothesis to draw.

Each is a function, and its values are those that its docstring names. They shrink towards
the first and the short. Drawing costs what Hypothesis costs: where thousands of steps are
wanted, draw from a few values that were built before.
"""

from __future__ import annotations

from meerkat.testing.strategies_commands import BARE_CALLS, Command, commands
from meerkat.testing.strategies_hostile import SABOTAGES, HostileDocument, hostile_json
from meerkat.testing.strategies_inputs import (
    causation_ids,
    conventions,
    correlation_ids,
    headers,
    input_ids,
    inputs,
    keys,
    operation_ids,
    run_ids,
    runtime_ids,
    sources,
    times,
)
from meerkat.testing.strategies_json import counts, json_objects, json_text, json_values
from meerkat.testing.strategies_policies import DrawnPolicy, decisions, policies
from meerkat.testing.strategies_records import (
    accept_outcomes,
    cursors,
    envelopes,
    events,
    operations,
    receipts,
    reports,
    states,
    wire_values,
)

__all__ = [
    "BARE_CALLS",
    "SABOTAGES",
    "Command",
    "DrawnPolicy",
    "HostileDocument",
    "accept_outcomes",
    "causation_ids",
    "commands",
    "conventions",
    "correlation_ids",
    "counts",
    "cursors",
    "decisions",
    "envelopes",
    "events",
    "headers",
    "hostile_json",
    "input_ids",
    "inputs",
    "json_objects",
    "json_text",
    "json_values",
    "keys",
    "operation_ids",
    "operations",
    "policies",
    "receipts",
    "reports",
    "run_ids",
    "runtime_ids",
    "sources",
    "states",
    "times",
    "wire_values",
]
