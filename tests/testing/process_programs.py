"""Process programs: what the children of test_processes do."""

from __future__ import annotations

import os
import threading

from meerkat.fail_points import FailPoint, reached
from meerkat.testing.processes import Told


def speak(told: Told, *words: object) -> None:
    for word in words:
        told.say("word", word)


def fail(_told: Told) -> None:
    raise ValueError("a child's own")


def pass_points(told: Told, times: int) -> None:
    for number in range(times):
        reached(FailPoint.COMMIT_DUE)
        told.say("passed", number)


def speak_for_ever(told: Told) -> None:
    while True:
        told.say("on and on")


def be_silent(_told: Told) -> None:
    threading.Event().wait()


def leave(_told: Told, status: int) -> None:
    os._exit(status)
