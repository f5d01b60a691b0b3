"""``meerkat inputs``: what waits in a runtime, or what has ended.

What an input says is shown only when it is asked for.
"""

from __future__ import annotations

import argparse
from typing import Final

from attrs import frozen

from actors.cli.grammar import Command, add_runtime, add_store, store_of
from actors.cli.looking import looking_at, row_of
from actors.cli.pages import Columns, Paging, add_paging, fact, paging_of, print_page, read_page
from actors.cli.status import ExitStatus
from actors.cli.texts import json_line
from actors.facts import Facts, inputs_facts
from meerkat.identifiers import InputId, LogicalRuntimeId
from meerkat.input_lifecycle import InputState
from meerkat.store import Page, RuntimeStore


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

        def read(store: RuntimeStore) -> Page[InputState]:
            listed = store.page_terminal_inputs if options.ended else store.page_active_inputs
            after = None if paging.after is None else str(InputId.parse(paging.after))
            return listed(row.runtime_id, after=after, limit=paging.limit)

        page = read_page(read, store, paging)
        shown = inputs_facts(store, row.runtime_id, page.items, payload=options.payload)
    columns = {**_INPUT, "PAYLOAD": _payload_of} if options.payload else _INPUT
    print_page("inputs", page.next, shown, columns, paging)
    return ExitStatus.OK


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
