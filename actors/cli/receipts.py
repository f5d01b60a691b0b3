"""``meerkat receipts``: what the runs of a runtime have consumed."""

from __future__ import annotations

import argparse
from typing import Final

from attrs import frozen

from actors.cli.grammar import Command, add_runtime, add_store, store_of
from actors.cli.looking import looking_at, row_of
from actors.cli.pages import Columns, Paging, add_paging, fact, paging_of, print_page, read_page
from actors.cli.status import ExitStatus
from actors.facts import receipt_facts
from meerkat.identifiers import LogicalRuntimeId
from meerkat.receipts import RunBoundaryReceipt
from meerkat.store import Page, RuntimeStore

_DIGEST_SHOWN: Final = 12
"""Hexadecimal digits of a digest in a table: enough to tell two apart."""


@frozen(kw_only=True)
class ReceiptsOptions:
    """What the command line says."""

    runtime_id: LogicalRuntimeId
    store: RuntimeStore
    paging: Paging


def receipts(options: ReceiptsOptions) -> ExitStatus:
    """Print the receipts of a runtime. Raises UsageError, NotFoundError and StoreError."""
    paging = options.paging

    def read(store: RuntimeStore) -> Page[RunBoundaryReceipt]:
        row = row_of(store, options.runtime_id)
        return store.page_receipts(row.runtime_id, after=paging.after, limit=paging.limit)

    with looking_at(options.store) as store:
        page = read_page(read, store, paging)
    print_page("receipts", page.next, map(receipt_facts, page.items), _RECEIPT, paging)
    return ExitStatus.OK


_RECEIPT: Final[Columns] = {
    "RUN": fact("run_id"),
    "NUMBER": fact("sequence"),
    "BOUNDARY": fact("boundary"),
    "INPUTS": lambda facts: len(facts["contributing_input_ids"]),
    "MESSAGES": lambda facts: facts.get("message_count", 0),
    "DIGEST": lambda facts: (facts.get("conversation_digest") or "")[:_DIGEST_SHOWN],
}


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_runtime(parser)
    add_store(parser)
    add_paging(parser)


def _act(given: argparse.Namespace) -> ExitStatus:
    return receipts(
        ReceiptsOptions(runtime_id=given.runtime, store=store_of(given), paging=paging_of(given))
    )


RECEIPTS: Final = Command(
    name="receipts",
    operand="RUNTIME",
    summary="list its receipts",
    help="""\
Print the receipts of a runtime: what
each run has consumed, and how many
messages there were behind it.

examples:
  meerkat receipts support-1
  meerkat receipts support-1 --json

""",
    add_options=_add_options,
    act=_act,
)
