"""DBOS on PostgreSQL: an item is a workflow, by its key; whoever calls waits for its result.

A queue that allows one workflow a partition keeps the order of a session: its authors call that
a fair queue, and have a faster way to take from it than from others. It looks for work as often
as it is told, here every 10 ms instead of every second. Without a queue a workflow begins where
it is called: one durable write fewer, and no order.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

from dbos import DBOS, SetEnqueueOptions, SetWorkflowID
from peers.base import Item
from peers.server import PeerOnServer

QUEUE = "items"
LOOKS_EVERY_S = 0.01
OFFERING = 8
"""Threads that enqueue side by side, each for sessions of its own; faster than one."""
THREADS = 64
QUEUE_FOUND_S = 1.2
"""It looks for new queues once a second."""


class DbosOnPostgres(PeerOnServer):
    """No conductor, no telemetry, no admin server: it talks to nobody."""

    COMPLETED = "SELECT count(*) FROM dbos.workflow_status WHERE status = 'SUCCESS'"
    IN_A_STEP: ClassVar[bool] = False

    def __init__(self, folder: Path, url: str | None = None) -> None:
        super().__init__(folder, url)
        DBOS(
            config={
                "name": "compare",
                "executor_id": str(os.getpid()),
                "system_database_url": self.url,
                "log_level": "ERROR",
                "run_admin_server": False,
                "max_executor_threads": THREADS,
            }
        )
        run = lambda text: self.answer(text)  # noqa: E731, PLW0108 - it takes no method
        if self.IN_A_STEP:
            run = self._in_a_step(run)
        self._workflow = DBOS.workflow(name="answer")(run)
        DBOS.launch()
        DBOS.register_queue(QUEUE, partition_concurrency=1, polling_interval_sec=LOOKS_EVERY_S)
        time.sleep(QUEUE_FOUND_S)

    @staticmethod
    def _in_a_step(run: Any) -> Any:
        step = DBOS.step(name="run")(run)
        return lambda text: step(text)  # noqa: PLW0108 - a workflow is no step

    def close(self) -> None:
        DBOS.destroy()


class DbosQueue(DbosOnPostgres):
    """Enqueued in its session's partition, taken from there, run; the row says what came of it."""

    ORDERS = True

    def _enqueue(self, item: Item) -> Any:
        with (
            SetWorkflowID(f"key-{item.number}"),
            SetEnqueueOptions(queue_partition_key=item.session),
        ):
            return DBOS.enqueue_workflow(QUEUE, self._workflow, item.text)

    def pipelined(self, items: Sequence[Item]) -> None:
        """The end is seen by one who asks for all: asking for each costs far more."""
        shares: list[list[Item]] = [[] for _ in range(OFFERING)]
        for item in items:
            shares[hash(item.session) % OFFERING].append(item)
        with ThreadPoolExecutor(OFFERING) as offering:
            list(offering.map(self._enqueue_all, shares))
        while DBOS.list_workflows(status=["PENDING", "ENQUEUED"], limit=1):
            time.sleep(LOOKS_EVERY_S)

    def _enqueue_all(self, items: Sequence[Item]) -> None:
        for item in items:
            self._enqueue(item)

    def call(self, item: Item) -> None:
        self._enqueue(item).get_result(polling_interval_sec=LOOKS_EVERY_S)


class DbosQueueStep(DbosQueue):
    """The same with the work in a step, whose result is stored, too."""

    IN_A_STEP = True


class DbosDirect(DbosOnPostgres):
    """Without a queue: begun in the background, or called, which runs it in the caller's thread."""

    def pipelined(self, items: Sequence[Item]) -> None:
        begun = [self._begin(item) for item in items]
        for handle in begun:
            handle.get_result()

    def _begin(self, item: Item) -> Any:
        with SetWorkflowID(f"key-{item.number}"):
            return DBOS.start_workflow(self._workflow, item.text)

    def call(self, item: Item) -> None:
        with SetWorkflowID(f"key-{item.number}"):
            self._workflow(item.text)
