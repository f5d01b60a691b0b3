"""Test an executor under any steps. Run it with ``pytest examples/test_my_agent.py``.

``CachingAgent`` is wrong, and looks right: it keeps the conversation in memory, to save a read.
A run that fails leaves its words behind, and the retry says them again; after a crash the next
process has none of them, and what it commits forgets the session. ``Agent`` asks its context.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis.stateful import invariant, rule

from meerkat import RunContext, RunOutput, StagedInput
from meerkat.testing import RuntimeStateMachine

LanguageModel = Callable[[list[dict[str, Any]]], str]


def said_by_user(staged: StagedInput) -> dict[str, Any]:
    ids = [str(input_id) for input_id in staged.contributing_input_ids]
    return {"role": "user", "content": staged.text, "inputs": ids}


class Agent:
    """Right: what is committed is all it builds on."""

    def __init__(self, model: LanguageModel) -> None:
        self.model = model

    def apply(self, context: RunContext, staged: StagedInput) -> RunOutput:
        """Say what was asked and answered."""
        said = said_by_user(staged)
        reply = self.model([*context.messages, said])
        return RunOutput(append=[said, {"role": "assistant", "content": reply}])


class CachingAgent(Agent):
    """Wrong: it builds on what it remembers, whether that was committed or not."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__(model)
        self.messages: list[dict[str, Any]] = []

    def apply(self, _context: RunContext, staged: StagedInput) -> RunOutput:
        """Say what was ever asked and answered, as far as it knows."""
        self.messages.append(said_by_user(staged))
        reply = self.model(self.messages)
        self.messages.append({"role": "assistant", "content": reply})
        return RunOutput(messages=self.messages)


class AgentMachine(RuntimeStateMachine):
    """Any steps of a session with an agent, whose language model fails now and then."""

    agent: type[Agent] = Agent
    fails_next = False
    may_raise = (TimeoutError,)

    def make_executor(self) -> Agent:
        """Make the agent of one process."""
        return self.agent(self.answer)

    def answer(self, _messages: list[dict[str, Any]]) -> str:
        """Stand in for a language model."""
        if self.fails_next:
            self.fails_next = False
            raise TimeoutError("the language model does not answer")
        return "noted"

    @rule()
    def the_language_model_fails_next(self) -> None:
        """Have the next question fail."""
        self.fails_next = True

    @invariant()
    def what_was_worked_on_is_said_once(self) -> None:
        """Each input that was used up is in the conversation, once."""
        said = [each for message in self.messages() for each in message.get("inputs", ())]
        if sorted(said) != sorted(self.proven()):
            raise AssertionError("said twice, or forgotten")


TestAgent = AgentMachine.TestCase
TestAgent.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
