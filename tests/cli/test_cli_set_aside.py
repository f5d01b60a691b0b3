"""``meerkat run`` over a runtime whose driver keeps failing: it says so, and does the rest."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cli_support import call, counts_of, messages_of, prompt, texts_of, write_inputs

from actors import ControlPlane, RestartPolicy, Restarts
from actors import messages as m
from actors.cli import run
from actors.driver_messages import _HANDLERS
from meerkat import LogicalRuntimeId
from meerkat.limits import Backoff
from meerkat.store import SqliteStore

BAD = LogicalRuntimeId("r1")
INPUTS = 20


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restarts without the pauses of the defaults."""
    restart = RestartPolicy(drivers=Restarts(intensity=2, backoff=Backoff(base_s=0.001)))
    monkeypatch.setattr(run, "ControlPlane", partial(ControlPlane, restart=restart))


def break_handler(monkeypatch: pytest.MonkeyPatch, message: type) -> None:
    """A defect in what the bad runtime's driver does with a message."""
    handler: Callable[[Any, Any], None] = _HANDLERS[message]

    def broken(driver: Any, given: Any) -> None:
        if driver.runtime_id == BAD:
            raise ZeroDivisionError("a defect")
        handler(driver, given)

    monkeypatch.setitem(_HANDLERS, message, broken)  # type: ignore[arg-type]


@pytest.mark.parametrize("message", [m.RunEnded, m.Accept])
def test_a_runtime_that_is_set_aside_costs_the_others_nothing(
    folder: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, message: type
) -> None:
    """When its runs end, and when it is offered something."""
    lines = [prompt(f"r{n % 3}", f"k{n:02}") for n in range(3 * INPUTS)]
    write_inputs(folder / "i.jsonl", lines)
    with monkeypatch.context() as broken:
        break_handler(broken, message)
        status, out, err = call(capsys, "run", "i.jsonl", "--json")
    counts = counts_of(out)
    assert counts[3] >= 2 * INPUTS  # completed
    for good in ("r0", "r2"):
        assert len(texts_of(messages_of(capsys, good))) == INPUTS
    assert status == 1
    assert "Runtime unavailable: r1: it failed more than 2 times in 60 s" in err
    store = SqliteStore(folder / "meerkat.db")
    row = store.load_runtime(BAD)
    assert row is not None
    assert row.set_aside is not None
    store.close()
    status, out, err = call(capsys, "run", "i.jsonl", "--json")  # once it is mended
    assert (status, err) == (0, "")
    assert len(texts_of(messages_of(capsys, "r1"))) == INPUTS
    assert call(capsys, "show", "r1")[1].count("set aside") == 0
