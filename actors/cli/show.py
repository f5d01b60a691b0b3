"""``meerkat show``: what is stored of one runtime.

It reads through the store and never becomes its owner, so it works beside a running
process, and it creates nothing.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

from attrs import frozen

from actors.cli.grammar import Command, add_json, add_runtime, add_store, store_of
from actors.cli.looking import looking_at, row_of
from actors.cli.status import ExitStatus
from actors.cli.texts import json_line, many_lines, one_line
from meerkat.conversation import SessionSnapshot
from meerkat.identifiers import LogicalRuntimeId
from meerkat.input_lifecycle import InputPhase, InputState
from meerkat.outcomes import completion_of
from meerkat.store import RuntimeRow, RuntimeStore
from meerkat.store.protocol import Page

T = TypeVar("T")


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
        snapshot = store.load_session_snapshot(row.runtime_id) or SessionSnapshot()
        if options.messages:
            _print_messages(row, json.loads(snapshot.messages), as_json=options.json)
        else:
            _print_facts(_facts_of(store, row, snapshot), as_json=options.json)
    return ExitStatus.OK


def _facts_of(store: RuntimeStore, row: RuntimeRow, snapshot: SessionSnapshot) -> dict[str, Any]:
    waiting = store.load_active_inputs(row.runtime_id)
    facts: dict[str, Any] = {
        "runtime_id": str(row.runtime_id),
        "state": str(row.state),
        "registered": row.registered,
        "session_id": None if row.session_id is None else str(row.session_id),
        "epoch_id": None if row.epoch_id is None else str(row.epoch_id),
        "messages": snapshot.message_count,
        "receipts": _count_receipts(store, row.runtime_id),
        "pending_inputs": len(waiting),
    }
    if snapshot.opaque is not None:
        facts["snapshot_bytes"] = len(snapshot.opaque)
    if row.paused:
        facts["paused"] = True
    if row.set_aside is not None:
        facts["set_aside"] = row.set_aside
    finished = _Finished()
    for state in _pages(lambda after: store.page_terminal_inputs(row.runtime_id, after=after)):
        finished.take(state)
    phases = [phase for phase in InputPhase if finished.counts[phase]]
    facts.update({str(phase): finished.counts[phase] for phase in phases})
    errors = [state.last_error for state in waiting if state.last_error]
    last_error = errors[0] if errors else finished.last_error
    if last_error:
        facts["last_error"] = last_error
    return facts


class _Finished:
    """What the finished inputs come to: how many by phase, and the latest one's error."""

    def __init__(self) -> None:
        self.counts: Counter[InputPhase] = Counter()
        self._latest: InputState | None = None

    def take(self, state: InputState) -> None:
        """Count one."""
        self.counts[state.phase] += 1
        if state.phase is not InputPhase.ABANDONED:
            return
        if self._latest is None or state.updated_at >= self._latest.updated_at:
            self._latest = state

    @property
    def last_error(self) -> str | None:
        """Why the input was given up that was given up last."""
        outcome = None if self._latest is None else completion_of(self._latest)
        return None if outcome is None else outcome.error or outcome.reason


def _pages(read: Callable[[str | None], Page[T]]) -> Iterator[T]:
    after = None
    while True:
        page = read(after)
        yield from page.items
        if page.next is None:
            return
        after = page.next


def _count_receipts(store: RuntimeStore, runtime_id: LogicalRuntimeId) -> int:
    return sum(1 for _ in _pages(lambda after: store.page_receipts(runtime_id, after=after)))


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
creates nothing.

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
