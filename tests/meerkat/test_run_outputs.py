"""Run outputs: what no commit could carry is refused when the output is built."""

from __future__ import annotations

from typing import Any

import pytest

from meerkat import RunOutput


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("message_count", 2**70, ValueError),
        ("message_count", True, TypeError),
        ("conversation_digest", "\ud800", ValueError),
        ("conversation_digest", 5, TypeError),
        ("result", "\ud800", ValueError),
        ("result", float("nan"), ValueError),
        ("result", {1: 2}, ValueError),
    ],
)
def test_what_cannot_be_carried_is_refused_at_birth(
    field: str, value: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        RunOutput(**{field: value})
