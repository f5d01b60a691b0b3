"""Where a thread is: looked up while nothing is collected, and the host's setting stays."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import ClassVar

import pytest
from plane_builders import WAIT_S

from actors.thread_frames import frame_of, stack_of


@pytest.fixture(autouse=True)
def setting() -> Iterator[None]:
    yield
    gc.enable()


@pytest.mark.parametrize("collects", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_nothing_is_collected_while_frames_are_looked_up(
    monkeypatch: pytest.MonkeyPatch, collects: bool, fails: bool
) -> None:
    """A collection there has stopped a whole process: two drivers said where a run was."""
    seen: list[bool] = []

    def frames() -> dict[int, FrameType]:
        seen.append(gc.isenabled())
        return {} if not fails else {}[0]

    monkeypatch.setattr(sys, "_current_frames", frames)
    if not collects:
        gc.disable()
    try:
        assert frame_of(threading.get_ident()) is None
    except KeyError:
        assert fails
    assert (seen, gc.isenabled()) == ([False], collects)


def test_a_thread_is_found_where_it_waits() -> None:
    here, go_on = threading.Event(), threading.Event()

    def wait_here() -> None:
        here.set()
        go_on.wait(WAIT_S)

    thread = threading.Thread(target=wait_here)
    thread.start()
    assert here.wait(WAIT_S)
    frame, names = frame_of(thread.ident), []
    while frame is not None:
        names.append(frame.f_code.co_name)
        frame = frame.f_back
    go_on.set()
    thread.join()
    assert "wait_here" in names
    assert frame_of(None) is None


def test_nothing_is_collected_while_a_stack_is_walked() -> None:
    """A collection there has let the callers return: what was read of them was gone."""

    class Frame:
        f_lineno = 1
        f_code = sys._getframe().f_code
        f_globals: ClassVar[dict[str, object]] = {}
        f_locals: ClassVar[dict[str, object]] = {}

        @property
        def f_back(self) -> Frame:
            seen.append(gc.isenabled())
            return self

    seen: list[bool] = []
    said = stack_of(Frame(), 3)  # type: ignore[arg-type]
    assert said.count(__file__) == 3
    assert (seen, gc.isenabled()) == ([False] * 3, True)


def test_the_innermost_frames_are_shown_the_outermost_of_them_first() -> None:
    def outer() -> str:
        return inner()

    def inner() -> str:
        return stack_of(sys._getframe(), 2)

    said = outer()
    assert said.count("File ") == 2
    assert said.index("in outer") < said.index("in inner")
