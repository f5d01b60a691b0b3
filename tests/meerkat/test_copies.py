"""Copies: what is changed of a frozen value, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from attrs import evolve, fields

from meerkat import PromptInput
from meerkat.copies import changed
from meerkat.input_lifecycle import InputPhase, InputState
from meerkat.kernel import RuntimeHead

NOW = datetime(2026, 1, 2, tzinfo=UTC)
STATE = InputState.of(PromptInput("hello", idempotency_key="key"), NOW)


@pytest.mark.parametrize("value", [STATE, RuntimeHead(registered=True)])
def test_a_copy_without_changes_equals_its_original(value: Any) -> None:
    copy = changed(value)
    assert copy == value
    assert copy is not value
    for field in fields(type(value)):
        assert getattr(copy, field.name) is getattr(value, field.name)


def test_a_copy_is_what_evolve_gives() -> None:
    changes = {"phase": InputPhase.QUEUED, "attempt_count": 2, "result": {"a": [1]}}
    copy = changed(STATE, **changes)
    assert copy == evolve(STATE, **changes)
    assert copy.result == {"a": (1,)}  # its own, as if it were built anew
    assert STATE.phase is InputPhase.ACCEPTED


def test_a_field_that_there_is_not_is_refused() -> None:
    with pytest.raises(TypeError, match="phases"):
        changed(STATE, phases=())
