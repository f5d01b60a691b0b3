"""Errors: their texts, their codes, their data, and the families they belong to."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from builders import uuid_of

from meerkat import (
    InputId,
    LogicalRuntimeId,
    OperationId,
    RuntimeState,
    errors,
    operation_errors,
)

ID = LogicalRuntimeId("missing")

TEXTS: list[tuple[errors.MeerkatError, str]] = [
    (errors.RuntimeNotReady(RuntimeState.IDLE), "Runtime not ready: idle"),
    (errors.RuntimeNotFound(ID), "Runtime not found: missing"),
    (errors.InputValidationFailed("bad input"), "Input validation failed: bad input"),
    (errors.RuntimeDestroyed(), "Runtime destroyed"),
    (errors.RecoveryCorruption("row 1"), "Recovery corruption: row 1"),
    (errors.InternalError("oops"), "Internal error: oops"),
    (errors.InvalidState(RuntimeState.RUNNING), "Invalid state for operation: running"),
    (errors.StoreError("disk full"), "Store error: disk full"),
    (errors.CommitUnknown("disk gone"), "Store error: disk gone"),
    (errors.ApplyFailed("bad input"), "Apply failed: bad input"),
    (errors.ExecutorStopped(), "Executor is stopped"),
    (
        errors.InvalidRuntimeTransition(RuntimeState.DESTROYED, RuntimeState.RUNNING),
        "Invalid runtime state transition: destroyed -> running",
    ),
    (errors.TooManyRestarts("mail", "OSError"), "Too many restarts: mail: OSError"),
]


def test_err_01_the_reason_is_in_the_text() -> None:
    assert "initializing" in str(errors.RuntimeNotReady(RuntimeState.INITIALIZING))
    assert "bad input" in str(errors.InputValidationFailed("bad input"))


@pytest.mark.parametrize(("error", "text"), TEXTS, ids=[text for _, text in TEXTS])
def test_err_02_texts(error: errors.MeerkatError, text: str) -> None:
    assert str(error) == text


def test_err_04_executor_errors() -> None:
    assert str(errors.ApplyFailed("bad input")) == "Apply failed: bad input"
    assert str(errors.ExecutorStopped()) == "Executor is stopped"
    assert errors.ApplyFailed("x").recoverable is True
    assert errors.ApplyFailed("x", recoverable=False).recoverable is False
    assert errors.ApplyFailed("x").reason == "x"


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (RuntimeState.INITIALIZING, "initializing"),
        (RuntimeState.IDLE, "idle"),
        (RuntimeState.ATTACHED, "attached"),
        (RuntimeState.RUNNING, "running"),
        (RuntimeState.RETIRED, "retired"),
        (RuntimeState.STOPPED, "stopped"),
        (RuntimeState.DESTROYED, "destroyed"),
    ],
)
def test_err_05_states_print_their_wire_word(state: RuntimeState, word: str) -> None:
    assert str(state) == word
    assert state.value == word
    assert f"{state}" == word


# --- families, codes and data -----------------------------------------------------------


def test_families() -> None:
    driver, plane = errors.RuntimeDriverError, errors.RuntimeControlPlaneError
    both = (errors.RuntimeNotFound, errors.InternalError, errors.InputValidationFailed)
    for error in both:
        assert issubclass(error, driver)
        assert issubclass(error, plane)
    for error in (errors.RuntimeNotReady, errors.RuntimeDestroyed, errors.RecoveryCorruption):
        assert issubclass(error, driver)
        assert not issubclass(error, plane)
    for error in (errors.InvalidState, errors.StoreError, errors.ControlPlaneStopped):
        assert issubclass(error, plane)
        assert not issubclass(error, driver)
    assert issubclass(errors.Fenced, errors.StoreError)
    assert issubclass(errors.CommitUnknown, errors.StoreError)
    assert issubclass(errors.CallTimedOut, TimeoutError)
    assert issubclass(errors.DecodeError, ValueError)


def test_every_error_has_a_code_of_its_own() -> None:
    classes = [
        cls
        for _, cls in inspect.getmembers(errors, inspect.isclass)
        if issubclass(cls, errors.MeerkatError)
    ]
    codes = [cls.code for cls in classes]
    assert len(set(codes)) == len(codes)
    assert all(code == code.lower() and " " not in code for code in codes)
    assert errors.RuntimeNotReady.code == "runtime_not_ready"
    assert errors.InvalidState.code == "invalid_state"


def test_data_is_in_attributes() -> None:
    input_id = InputId(uuid_of(1))
    assert errors.RuntimeNotReady(RuntimeState.IDLE).state is RuntimeState.IDLE
    assert errors.InvalidState(RuntimeState.IDLE).state is RuntimeState.IDLE
    assert errors.RuntimeNotFound(ID).runtime_id == ID
    assert errors.InputNotFound(input_id).input_id == input_id
    assert errors.InputValidationFailed("why").reason == "why"
    assert errors.DecodeError("why").reason == "why"
    assert errors.StoreError("why").text == "why"
    assert errors.Fenced(ID).runtime_id == ID
    overloaded = errors.Overloaded("pending_inputs_max", 3)
    assert (overloaded.limit, overloaded.value) == ("pending_inputs_max", 3)
    timed_out = errors.CallTimedOut("ingest", 0.5)
    assert (timed_out.call, timed_out.timeout_s, timed_out.still_queued) == ("ingest", 0.5, True)


# --- copies -----------------------------------------------------------------------------

ARGUMENTS: dict[str, Any] = {
    "state": RuntimeState.IDLE,
    "from_state": RuntimeState.IDLE,
    "to_state": RuntimeState.RUNNING,
    "input_id": InputId(uuid_of(1)),
    "operation_id": OperationId(uuid_of(2)),
    "runtime_id": ID,
    "value": 3,
    "limit": "a_limit",
    "timeout_s": 0.5,
    "recoverable": False,
}


def every_class(root: type[errors.MeerkatError]) -> Iterator[type[errors.MeerkatError]]:
    yield root
    for kind in root.__subclasses__():
        yield from every_class(kind)


def error_of(kind: type[errors.MeerkatError]) -> errors.MeerkatError:
    if kind.__init__ is Exception.__init__:
        return kind("a text")
    names = list(inspect.signature(kind).parameters)
    return kind(*[ARGUMENTS.get(name, f"some {name}") for name in names])


@pytest.mark.parametrize(
    "kind",
    dict.fromkeys(
        kind
        for kind in every_class(errors.MeerkatError)
        if kind.__module__ in (errors.__name__, operation_errors.__name__)
    ),
)
def test_a_copy_of_an_error_is_the_same_error(kind: type[errors.MeerkatError]) -> None:
    error = error_of(kind)
    error.add_note("seen")
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is kind
        assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))
