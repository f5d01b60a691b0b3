"""Fail points: the moments of a commit's way that a test can have something happen at.

Each is a story of its own about what is on disk by then and who was told. The code says that
it has come there, and knows nothing of who wants to hear it: when nobody does, which is always
but in a test, that costs a call and one look. ``meerkat.testing.fail_points`` has them raise,
call something, or kill the process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from meerkat.words import Word


class FailPoint(Word):
    """A moment on the way of a commit; ``WHAT_HAS_HAPPENED`` says which."""

    INPUT_OFFERED = "input_offered"
    COMMAND_DECIDED = "command_decided"
    TICKET_LEAVES = "ticket_leaves"
    GROUP_TAKEN = "group_taken"
    GROUP_WRITTEN = "group_written"
    BATCH_ANSWERED = "batch_answered"
    TICKET_LANDED = "ticket_landed"
    STEP_LET_OUT = "step_let_out"
    TICKET_LET_OUT = "ticket_let_out"
    FILE_CREATED = "file_created"
    MIGRATION_STEP = "migration_step"
    MIGRATION_WRITTEN = "migration_written"
    STORE_OPENED = "store_opened"
    TRANSACTION_BEGUN = "transaction_begun"
    ROWS_WRITTEN = "rows_written"
    COMMIT_DUE = "commit_due"
    COMMIT_DONE = "commit_done"
    RUNTIME_READ = "runtime_read"
    RUNTIME_RECOVERED = "runtime_recovered"
    RUN_BEGINS = "run_begins"
    RUN_RETURNED = "run_returned"
    BOUNDARY_PLANNED = "boundary_planned"
    BOUNDARY_COMMITTED = "boundary_committed"
    RUNTIME_PASSIVATED = "runtime_passivated"
    PRUNE_FOUND = "prune_found"
    PRUNE_STEP = "prune_step"
    STORE_CLOSING = "store_closing"


WHAT_HAS_HAPPENED: Final[Mapping[FailPoint, str]] = {
    FailPoint.INPUT_OFFERED: "an input was checked and encoded; its driver does not have it yet",
    FailPoint.COMMAND_DECIDED: "a command was decided and is in memory; nothing is on its way",
    FailPoint.TICKET_LEAVES: "a driver has made a batch of its decisions; the journal lacks it",
    FailPoint.GROUP_TAKEN: "the writer has taken a group of batches; the store was not called",
    FailPoint.GROUP_WRITTEN: "the store has answered for a group; no driver was told",
    FailPoint.BATCH_ANSWERED: "one driver of a group was told; those behind it were not",
    FailPoint.TICKET_LANDED: "a driver knows that its batch is durable; nobody else does",
    FailPoint.STEP_LET_OUT: "one decision of a ticket was told; those behind it were not",
    FailPoint.TICKET_LET_OUT: "everybody was told of a ticket; the driver has not gone on",
    FailPoint.FILE_CREATED: "the database file was made sure of; it may be empty",
    FailPoint.MIGRATION_STEP: "one statement of a migration was carried out, in its transaction",
    FailPoint.MIGRATION_WRITTEN: "all of a migration was carried out, and is not committed",
    FailPoint.STORE_OPENED: "the writing connection is open, and the schema is ours",
    FailPoint.TRANSACTION_BEGUN: "a transaction has begun; nothing is written in it",
    FailPoint.ROWS_WRITTEN: "some rows of a group are written in the open transaction",
    FailPoint.COMMIT_DUE: "all rows are written; COMMIT is the next statement",
    FailPoint.COMMIT_DONE: "the transaction is durable; the store has not returned",
    FailPoint.RUNTIME_READ: "the rows of a runtime were read; nothing is put right",
    FailPoint.RUNTIME_RECOVERED: "a runtime was put right in memory; nothing of it is on disk",
    FailPoint.RUN_BEGINS: "the start of a run is on disk; its executor was not called",
    FailPoint.RUN_RETURNED: "an executor has returned; its driver does not know",
    FailPoint.BOUNDARY_PLANNED: "a run wants inputs consumed; its driver was not asked",
    FailPoint.BOUNDARY_COMMITTED: "they are consumed on disk; the executor does not know",
    FailPoint.RUNTIME_PASSIVATED: "a runtime at rest has left its driver's memory",
    FailPoint.PRUNE_FOUND: "a step of retention knows what to cut down; nothing is written",
    FailPoint.PRUNE_STEP: "one statement of retention was carried out, in its transaction",
    FailPoint.STORE_CLOSING: "everybody was answered; the connections are still open",
}
"""Fail point → what has happened when it is reached."""

Watcher: TypeAlias = Callable[[FailPoint], None]
"""Told of every fail point, on the thread that has come there. What it raises goes on there."""

_watchers: Final[list[Watcher]] = []


def reached(point: FailPoint) -> None:
    """Say that this thread has come to a fail point."""
    if _watchers:
        _tell(point)


def _tell(point: FailPoint) -> None:
    for watcher in tuple(_watchers):
        watcher(point)


def watch(watcher: Watcher) -> None:
    """Have somebody told of every fail point of this process, from now on."""
    _watchers.append(watcher)


def unwatch(watcher: Watcher) -> None:
    """Tell it no more; ValueError for one that was not told."""
    _watchers.remove(watcher)
