"""A renewed value is what ``attrs.evolve`` makes of it, and the old one stays."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import pytest
from attrs import field, frozen
from builders import ONE_OF_EACH_KIND, START, prompt, state_in
from hypothesis import given
from hypothesis import strategies as st

from meerkat import InputPhase, InputState, kernel
from meerkat import input_lifecycle as lifecycle
from meerkat.kernel import memory
from meerkat.renewal import renewer
from meerkat.runtime_lifecycle import AT_REST, RuntimeState


@frozen
class Base:
    count: int
    _hidden: str = "h"


@frozen
class Value(Base):
    kind: ClassVar[str] = "value"
    name: str = field(default="n", converter=str)
    items: tuple[Any, ...] = field(default=(), eq=False)
    derived: str = field(init=False, default="d")


renewed = renewer(Value)
OLD = Value(1, "x", "old", (1,))


@pytest.mark.parametrize(
    "changes",
    [{}, {"name": "new"}, {"count": 2, "items": (2, 3)}, {"count": 0, "name": "", "items": ()}],
)
def test_it_is_what_evolve_makes(changes: dict[str, Any]) -> None:
    new, expected = renewed(OLD, **changes), attrs.evolve(OLD, **changes)
    assert type(new) is Value
    assert new is not OLD
    assert attrs.asdict(new) == attrs.asdict(expected)
    assert (new, hash(new), repr(new)) == (expected, hash(expected), repr(expected))


def test_the_old_one_stays_as_it_was() -> None:
    before = attrs.asdict(OLD)
    new = renewed(OLD, name="new", count=9)
    assert attrs.asdict(OLD) == before
    assert (new.name, OLD.name) == ("new", "old")
    assert new.items is OLD.items


def test_a_new_one_is_frozen_too() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        renewed(OLD).name = "x"  # type: ignore[misc]


@pytest.mark.parametrize("unknown", ["nme", "kind", "__class__", "hidden", ""])
def test_a_field_it_does_not_have_is_refused(unknown: str) -> None:
    with pytest.raises(TypeError, match="Value has no field"):
        renewed(OLD, **{unknown: 1})


def test_fields_without_a_place_in_the_initialiser_are_kept_and_can_be_changed() -> None:
    assert renewed(OLD).derived == "d"
    assert renewed(OLD, derived="e", _hidden="y") == renewed(renewed(OLD, _hidden="y"), derived="e")
    assert renewed(OLD, _hidden="y")._hidden == "y"


def test_nothing_is_converted_or_checked() -> None:
    """It is for values that the kernel itself has made."""
    assert renewed(OLD, name=7).name == 7  # type: ignore[comparison-overlap]


def test_another_class_is_refused() -> None:
    with pytest.raises((TypeError, AttributeError)):
        renewed(Base(1))  # type: ignore[arg-type]
    with pytest.raises(attrs.exceptions.NotAnAttrsClassError):
        renewer(int)


# --- those of the kernel ----------------------------------------------------------------

HEAD = kernel.RuntimeHead()
HEAD_CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "phase": st.sampled_from([AT_REST[RuntimeState.IDLE], AT_REST[RuntimeState.RETIRED]]),
        "next_admission_sequence": st.integers(0, 2**64 - 1),
        "registered": st.booleans(),
        "feed_watermark": st.integers(0, 9),
    },
)


@given(HEAD_CHANGES)
def test_a_runtimes_head_is_renewed_as_evolve_does(changes: dict[str, Any]) -> None:
    assert memory.renewed_head(HEAD, **changes) == attrs.evolve(HEAD, **changes)
    assert kernel.RuntimeHead() == HEAD


@pytest.mark.parametrize("phase", list(InputPhase))
@pytest.mark.parametrize("build", ONE_OF_EACH_KIND)
def test_an_inputs_state_is_one_that_its_initialiser_takes(build: Any, phase: InputPhase) -> None:
    """However it came there, all that is checked of a new one holds, each field with its type."""
    state = state_in(phase, build() if phase.value not in ("superseded", "coalesced") else prompt())
    made = InputState(
        **{each.alias: getattr(state, each.name) for each in attrs.fields(InputState) if each.init}
    )
    assert made == state
    for each in attrs.fields(InputState):
        assert type(getattr(made, each.name)) is type(getattr(state, each.name))


def test_a_step_leaves_the_state_before_it_as_it_was() -> None:
    state = state_in(InputPhase.QUEUED)
    before = attrs.asdict(state, recurse=False)
    lifecycle.abandon(
        state, START, reason=lifecycle.AbandonReason(lifecycle.AbandonCause.CANCELLED)
    )
    assert attrs.asdict(state, recurse=False) == before
