"""``meerkat show``: what is stored of one runtime.

It reads through the store and never becomes its owner, so it works beside a running
process, and it creates nothing.
"""

from __future__ import annotations

import argparse
import json
from typing import Any, Final

from attrs import frozen

from actors.cli.grammar import Command, add_json, add_runtime, add_store, store_of
from actors.cli.looking import looking_at, row_of
from actors.cli.status import ExitStatus
from actors.cli.texts import json_line, many_lines, one_line
from actors.facts import stored_facts
from meerkat.conversation import SessionSnapshot
from meerkat.identifiers import LogicalRuntimeId
from meerkat.store import RuntimeRow, RuntimeStore


@frozen(kw_only=True)
class ShowOptions:
    """What the command line says."""

    runtime_id: LogicalRuntimeId
    store: RuntimeStore
    messages: bool
    json: bool


def show(options: ShowOptions) -> ExitStatus:
    """Print it. Raises UsageError, NotFoundError and StoreError."""
    with looking_at(options.store) as store:
        row = row_of(store, options.runtime_id)
        if options.messages:
            snapshot = store.load_session_snapshot(row.runtime_id) or SessionSnapshot()
            _print_messages(row, json.loads(snapshot.messages), as_json=options.json)
        else:
            _print_facts(stored_facts(store, row), as_json=options.json)
    return ExitStatus.OK


def _print_facts(facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json_line(facts))
        return
    for name, value in facts.items():
        text = {"True": "yes", "False": "no", "None": "none"}.get(str(value), str(value))
        print(f"{name.replace('_', ' '):<14} {one_line(text)}")


def _print_messages(row: RuntimeRow, messages: list[Any], *, as_json: bool) -> None:
    if as_json:
        document = {
            "runtime_id": str(row.runtime_id),
            "state": str(row.state),
            "messages": messages,
        }
        print(json_line(document))
        return
    for number, message in enumerate(messages, start=1):
        content = message.get("content")
        text = content if isinstance(content, str) else json_line(content)
        print(f"[{number}] {one_line(str(message.get('role', 'no role')))}")
        print(many_lines(text), end="\n\n")


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_runtime(parser)
    add_store(parser)
    parser.add_argument("--messages", action="store_true", help="print the messages")
    add_json(parser)


def _act(given: argparse.Namespace) -> ExitStatus:
    return show(
        ShowOptions(
            runtime_id=given.runtime,
            store=store_of(given),
            messages=given.messages,
            json=given.json,
        )
    )


SHOW: Final = Command(
    name="show",
    operand="RUNTIME",
    summary="print what is stored of a runtime",
    help="""\
Print what is stored of one runtime. It
reads beside a running process, and
changes nothing.

examples:
  meerkat show support-1
  meerkat show support-1 --messages
  meerkat show support-1 --json
  meerkat show support-1 --messages \\
    --json

""",
    add_options=_add_options,
    act=_act,
)
