"""Bare Pykka: a ThreadingActor a session, nothing durable. What a mailbox alone costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pykka
from peers.base import SESSIONS, Item, Peer


class SessionActor(pykka.ThreadingActor):
    """Answers each message at once."""

    def __init__(self, answer: Callable[[str], str]) -> None:
        super().__init__()
        self._answer = answer

    def on_receive(self, message: Any) -> Any:
        return self._answer(message)


class PykkaPeer(Peer):
    """Ask, and the future of each ask."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._actors = {
            f"session-{number}": SessionActor.start(self.answer) for number in range(SESSIONS)
        }

    def pipelined(self, items: Sequence[Item]) -> None:
        asked = [self._actors[item.session].ask(item.text, block=False) for item in items]
        for future in asked:
            future.get()

    def call(self, item: Item) -> None:
        self._actors[item.session].ask(item.text)

    def close(self) -> None:
        for actor in self._actors.values():
            actor.stop(block=False)
