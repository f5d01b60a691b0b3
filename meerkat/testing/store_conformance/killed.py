"""What a child does until it is killed: commit after commit, each of which it says it was told."""

from __future__ import annotations

from importlib import import_module
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from meerkat.conversation import AppendMessages
from meerkat.store import Batch
from meerkat.testing.store_rows import R1, batch, input_id, prompt, receipt, row_of

if TYPE_CHECKING:
    from meerkat.testing.processes import Told

PROGRAM = f"{__name__}:commit_for_ever"


def one_commit(number: int) -> Batch:
    """The commit of this number: an input, its receipt and a message, each of this number."""
    return batch(
        R1,
        row_of(prompt(number, f"k{number}"), sequence=number),
        after=number,
        fence=number + 1,
        receipts=(receipt(number, number),),
        session=(AppendMessages(number, 1, b"[%d]" % number),),
    )


def commit_for_ever(told: Told, module: str, cases: str, place: str) -> None:
    """Open the store that a class of cases opens, and go on from what is in it."""
    store = getattr(import_module(module), cases)().open_store(Path(place))
    row = store.load_runtime(R1)
    for number in count(0 if row is None else row.fence):
        store.commit(one_commit(number))
        told.accepted(R1, input_id(number))
