"""The example finds its wrong executor, and has nothing against the right one."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from test_my_agent import Agent, AgentMachine, CachingAgent

pytestmark = pytest.mark.usefixtures("no_news")

SOME = settings(
    max_examples=60,
    stateful_step_count=30,
    phases=[Phase.generate],
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
MANY = settings(SOME, max_examples=600)
"""What is wrong is found by some of these for certain; the first one ends it."""


def test_the_right_agent_passes() -> None:
    run_state_machine_as_test(AgentMachine, settings=SOME)
    assert AgentMachine.agent is Agent


def test_the_wrong_agent_is_found() -> None:
    class Wrong(AgentMachine):
        agent = CachingAgent

    with pytest.raises(AssertionError, match="said twice, or forgotten"):
        run_state_machine_as_test(Wrong, settings=MANY)
