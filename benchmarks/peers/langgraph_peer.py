"""LangGraph with its SQLite saver: one invoke an item, a thread_id for each session.

``durability="sync"`` writes the input before the node runs, and the result before invoke
returns; the saver opens WAL, and full sync is set on the connection it is given. The state
is the last message alone: a growing history would be written again at each step.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, TypedDict

os.environ["LANGSMITH_TRACING"] = "false"

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from peers.base import Item, Peer


class State(TypedDict):
    """What a session remembers."""

    text: str
    reply: str


class LangGraphPeer(Peer):
    """A graph of one node."""

    COMPLETED = (
        "SELECT count(*) / 2 FROM checkpoints "
        "WHERE json_extract(CAST(metadata AS TEXT), '$.source') = 'loop'"
    )
    DURABILITY: ClassVar[str] = "sync"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._connection = sqlite3.connect(self.file, check_same_thread=False)
        self._connection.execute("PRAGMA synchronous = FULL")
        builder = StateGraph(State)
        builder.add_node("answer", lambda state: {"reply": self.answer(state["text"])})
        builder.add_edge(START, "answer")
        builder.add_edge("answer", END)
        self._graph = builder.compile(checkpointer=SqliteSaver(self._connection))

    def pipelined(self, items: Sequence[Item]) -> None:
        for item in items:
            self.call(item)

    def call(self, item: Item) -> None:
        thread = {"configurable": {"thread_id": item.session}}
        self._graph.invoke({"text": item.text}, thread, durability=self.DURABILITY)

    def close(self) -> None:
        self._connection.close()


class LangGraphAtExit(LangGraphPeer):
    """One commit at the end: nothing of an item is on disk before it has run."""

    COMPLETED = "SELECT count(*) FROM checkpoints"
    DURABILITY = "exit"
