"""``meerkat inputs``: what waits in a runtime, or what has ended.

What an input says is shown only when it is asked for.
"""

from __future__ import annotations

import argparse
import json
from typing import Final

from attrs import frozen

from actors.cli.grammar import Command, add_runtime, add_store, store_of
from actors.cli.looking import looking_at, row_of
from actors.cli.pages import (
    Columns,
    Facts,
    Paging,
    add_paging,
    fact,
    paging_of,
    print_page,
    text_of,
)
from actors.cli.status import ExitStatus
from actors.cli.texts import json_line
from meerkat.codec import to_json
from meerkat.identifiers import LogicalRuntimeId
from meerkat.input_lifecycle import InputState
from meerkat.outcomes import completion_of
from meerkat.store import RuntimeStore


@frozen(kw_only=True)
class InputsOptions:
    """What the command line says."""

    runtime_id: LogicalRuntimeId
    store: RuntimeStore
    ended: bool
    payload: bool
    paging: Paging


def inputs(options: InputsOptions) -> ExitStatus:
    """Print the inputs of a runtime. Raises UsageError, NotFoundError and StoreError."""
    paging = options.paging
    with looking_at(options.store) as store:
        row = row_of(store, options.runtime_id)
        read = store.page_terminal_inputs if options.ended else store.page_active_inputs
        page = read(row.runtime_id, after=paging.after, limit=paging.limit)
    shown = [_of_input(state, payload=options.payload) for state in page.items]
    columns = {**_INPUT, "PAYLOAD": _payload_of} if options.payload else _INPUT
    print_page("inputs", page.next, shown, columns, paging)
    return ExitStatus.OK


def _of_input(state: InputState, *, payload: bool) -> Facts:
    facts: Facts = {
        "input_id": str(state.input_id),
        "phase": str(state.phase),
        "kind": None if state.input is None else str(state.input.kind),
        "admission_sequence": state.admission_sequence,
        "attempt_count": state.attempt_count,
        "created_at": state.created_at,
        "updated_at": state.updated_at,
        "idempotency_key": text_of(state.idempotency_key),
        "correlation_id": text_of(state.correlation_id),
        "last_run_id": text_of(state.last_run_id),
        "last_boundary_sequence": state.last_boundary_sequence,
        "reason": _reason_of(state),
        "last_error": state.last_error,
    }
    if payload:
        facts["payload"] = None if state.input is None else json.loads(to_json(state.input))
    return facts


def _reason_of(state: InputState) -> str | None:
    ending = completion_of(state)
    if ending is None:
        return None
    return ending.reason or text_of(ending.displaced_by)


def _payload_of(facts: Facts) -> str | None:
    return None if facts["payload"] is None else json_line(facts["payload"])


_INPUT: Final[Columns] = {
    "INPUT": fact("input_id"),
    "NUMBER": fact("admission_sequence"),
    "KIND": fact("kind"),
    "PHASE": fact("phase"),
    "TRIES": fact("attempt_count"),
    "AGE": fact("created_at"),
    "KEY": fact("idempotency_key"),
    "NOTE": lambda facts: facts["last_error"] or facts["reason"],
}


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_runtime(parser)
    add_store(parser)
    parser.add_argument("--ended", action="store_true", help="those that have ended")
    parser.add_argument("--payload", action="store_true", help="show what they say")
    add_paging(parser)


def _act(given: argparse.Namespace) -> ExitStatus:
    return inputs(
        InputsOptions(
            runtime_id=given.runtime,
            store=store_of(given),
            ended=given.ended,
            payload=given.payload,
            paging=paging_of(given),
        )
    )


INPUTS: Final = Command(
    name="inputs",
    operand="RUNTIME",
    summary="list its inputs",
    help="""\
Print the inputs of a runtime that have
not ended, in the order in which they
are worked; or those that have. What an
input says is shown only when asked for.

examples:
  meerkat inputs support-1
  meerkat inputs support-1 --ended
  meerkat inputs support-1 --payload \\
    --json

""",
    add_options=_add_options,
    act=_act,
)
