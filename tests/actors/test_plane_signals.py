"""Signals: SIGTERM in a block of the main thread, the interpreter's end, and a storm of Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from subprocess import PIPE

import pytest
from plane_builders import WAIT_S, Agent, result_of

from actors import ControlPlane
from actors.signals import Terminator
from meerkat.outcomes import CompletionKind
from meerkat.store import MemoryStore, SqliteStore

TIMES = int(os.environ.get("MEERKAT_SIGNALS", "60"))
HOST = """
import logging, signal, sys, threading
from actors import ControlPlane
from meerkat import PromptInput, RunOutput
from meerkat.store import SqliteStore

def agent(context, primitive):
    if primitive.text == "hang":
        say("hanging")
        threading.Event().wait()
    if primitive.text == "end":
        over.wait()
    if primitive.text == "line":
        say("running")
        sys.stdin.readline()
    if primitive.text == "yield":
        say("running")
        context.cancelled.wait()
        say("told")
        context.raise_if_cancelled()
    return RunOutput(append=[])

def say(text):
    sys.stdout.write(f"{text}\\n")
    sys.stdout.flush()

def plane_at(path, kind=ControlPlane):
    return kind(SqliteStore(path), agent, grace_s=0.2)

def offer(plane, text):
    plane.register("a")
    sent = plane.submit("a", PromptInput(text, idempotency_key=text))
    sent.accepted.result()
    return sent.completion

class Watched(ControlPlane):
    # Says when its block is over; the runs that wait for that end then.
    def stop(self, **how):
        say("stopping")
        over.set()
        return super().stop(timeout=1000)

over = threading.Event()
path = sys.argv[1]
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever was inherited
"""


class Host:
    """A host program in a process of its own."""

    def __init__(self, path: Path, program: str) -> None:
        command = [sys.executable, "-c", HOST + program, str(path)]
        self.process = subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True)
        self.path = path

    def hear(self, *texts: str) -> None:
        """Wait until it has said these, in any order."""
        assert self.process.stdout is not None
        heard = [self.process.stdout.readline().strip() for _ in texts]
        assert sorted(heard) == sorted(texts)

    def end(self, *signals: signal.Signals, say: str = "") -> tuple[int, str, str]:
        """Its status and what it said, once it has ended."""
        for number in signals:
            self.process.send_signal(number)
        out, err = self.process.communicate(f"{say}\n", timeout=3 * WAIT_S)
        return self.process.returncode, out.strip(), err

    def store_opens(self) -> None:
        with ControlPlane(SqliteStore(self.path), Agent()) as plane:
            for input_id in plane.active_input_ids("a"):
                ended = result_of(plane.completion("a", input_id))
                assert ended.kind is CompletionKind.COMPLETED


def test_sigterm_ends_a_block_in_order_though_the_main_thread_waits(path: Path) -> None:
    host = Host(
        path,
        """
plane = plane_at(path, Watched)
try:
    with plane:
        waiting = offer(plane, "end")
        say("waiting")
        waiting.result()
finally:
    say(plane.stop())
""",
    )
    host.hear("waiting")
    status, out, err = host.end(signal.SIGTERM)
    assert (status, err) == (143, "")
    assert "runs_left=0" in out
    assert "store_closed=True" in out
    host.store_opens()


def test_nested_blocks_are_all_ended(path: Path) -> None:
    host = Host(
        path,
        """
first, second = plane_at(path, Watched), plane_at(path + "-2", Watched)
try:
    with first:
        with second:
            offer(first, "end"), offer(second, "end")
            say("waiting")
            threading.Event().wait()
finally:
    say(first.stop().store_closed and second.stop().store_closed)
    say(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
""",
    )
    host.hear("waiting")
    status, out, err = host.end(signal.SIGTERM)
    assert (status, out.splitlines()[-2:], err) == (143, ["True", "True"], "")
    host.store_opens()


def test_a_second_sigterm_hurries_the_stop(path: Path) -> None:
    """Left alone it would wait half a minute for a run that does not know of its end."""
    host = Host(
        path,
        """
plane = plane_at(path, Watched)
with plane:
    offer(plane, "yield").result()
""",
    )
    host.hear("running")
    host.process.send_signal(signal.SIGTERM)
    host.hear("stopping")
    host.process.send_signal(signal.SIGTERM)
    assert host.end() == (143, "told", "")
    host.store_opens()


def test_a_first_sigterm_within_the_stop_ends_the_process_behind_it(path: Path) -> None:
    host = Host(
        path,
        """
with plane_at(path, Watched) as plane:
    offer(plane, "line")
say("not reached")
""",
    )
    host.hear("running", "stopping")
    host.process.send_signal(signal.SIGTERM)
    assert host.end(say="go on") == (143, "", "")
    host.store_opens()


def test_a_handler_of_the_host_is_never_replaced() -> None:
    def handle(_number: int, _frame: object) -> None:
        """The host's."""

    before = signal.getsignal(signal.SIGTERM)
    try:
        for theirs in (handle, signal.SIG_IGN):
            signal.signal(signal.SIGTERM, theirs)
            with ControlPlane(MemoryStore()):
                assert signal.getsignal(signal.SIGTERM) is theirs
            assert signal.getsignal(signal.SIGTERM) is theirs
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with ControlPlane(MemoryStore()):
            assert isinstance(signal.getsignal(signal.SIGTERM), Terminator)
            signal.signal(signal.SIGTERM, handle)  # the host's mind has changed
        assert signal.getsignal(signal.SIGTERM) is handle
    finally:
        signal.signal(signal.SIGTERM, before)


def test_planes_in_turn_and_in_one_another_put_back_what_was_there() -> None:
    before = signal.getsignal(signal.SIGTERM)
    for _ in range(2):
        with ControlPlane(MemoryStore()) as plane:
            ours = signal.getsignal(signal.SIGTERM)
            with ControlPlane(MemoryStore()), plane:
                assert signal.getsignal(signal.SIGTERM) is ours
            assert signal.getsignal(signal.SIGTERM) is ours
        assert signal.getsignal(signal.SIGTERM) is before


def test_a_block_outside_the_main_thread_and_a_start_by_hand_touch_no_signal() -> None:
    seen = []

    def block() -> None:
        with ControlPlane(MemoryStore()):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=block)
    thread.start()
    thread.join(WAIT_S)
    plane = ControlPlane(MemoryStore()).start()
    seen.append(signal.getsignal(signal.SIGTERM))
    plane.stop()
    assert seen == [signal.getsignal(signal.SIGTERM)] * 2


def test_sigterm_in_a_block_raises_in_the_main_thread() -> None:
    plane = ControlPlane(MemoryStore())
    with pytest.raises(SystemExit, match="143"), plane:
        signal.raise_signal(signal.SIGTERM)
    assert plane.stop().store_closed


# --- the interpreter's end --------------------------------------------------------------


@pytest.mark.parametrize("how", ["kept", "dropped", "in a function"])
def test_a_forgotten_plane_is_stopped_at_exit_and_that_is_said(path: Path, how: str) -> None:
    host = Host(
        path,
        {
            "kept": 'plane = plane_at(path).start(); offer(plane, "yield")',
            "dropped": 'plane = plane_at(path).start(); offer(plane, "yield"); del plane',
            "in a function": """
def forget():
    plane = plane_at(path).start()
    offer(plane, "yield")
forget()
import gc; gc.collect()
""",
        }[how],
    )
    status, out, err = host.end()
    assert (status, out.splitlines()) == (0, ["running", "told"])
    assert err.count("was not stopped") == 1
    assert "with statement" in err
    host.store_opens()


def test_a_run_that_hangs_does_not_keep_the_interpreter(path: Path) -> None:
    host = Host(path, 'plane = plane_at(path).start(); offer(plane, "hang")')
    status, _, err = host.end()
    assert status == 0
    assert "did not return" in err
    host.store_opens()


def test_a_stopped_plane_needs_no_net(path: Path) -> None:
    host = Host(
        path,
        """
import atexit
before = atexit._ncallbacks()
with plane_at(path) as plane:
    offer(plane, "quick").result()
    say(atexit._ncallbacks() - before)
""",
    )
    assert host.end() == (0, "1", "")


def test_ctrl_c_in_a_stop_leaves_the_rest_to_the_interpreters_end(path: Path) -> None:
    host = Host(
        path,
        """
class Begun(ControlPlane):
    # Says when the stop of its block is under way, and the main thread can but wait for it.
    def stop(self, **how):
        threading.Thread(target=self.tell, args=(self._life.system.directory,)).start()
        return super().stop(timeout=1000)

    def tell(self, directory):
        while not directory._closed:
            threading.Event().wait(0.001)
        say("stopping")

with plane_at(path, Begun) as plane:
    offer(plane, "yield")
""",
    )
    host.hear("running", "stopping")
    status, out, err = host.end(signal.SIGINT)
    assert (status, out) == (-signal.SIGINT, "told")
    assert "was not stopped" not in err
    host.store_opens()


# --- a storm ----------------------------------------------------------------------------


def test_signals_at_any_moment_lose_nothing(tmp_path: Path) -> None:
    """Of starts, calls, runs and stops; MEERKAT_SIGNALS says how many."""
    script = Path(__file__).with_name("interrupt_storm.py")
    command = [sys.executable, str(script), str(tmp_path), "7", str(TIMES)]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.stdout == f"signals {TIMES}, faults 0\n", said.stdout + said.stderr
