"""Executors of the command line: the echo, and one that the user names.

An executor that runs a command is in ``command``.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from actors.cli.status import UsageError
from actors.executors import Executor, checked_executor
from meerkat.interfaces import RunContext
from meerkat.runs import RunOutput, StagedInput

HERE: Final = ""
"""The entry of the import path that stands for the current directory."""


def echo(context: RunContext, primitive: StagedInput) -> RunOutput:
    """Answer every turn with its own text: the same input, the same answer, always.

    A continuation brings no text; it leaves the conversation as it is.
    """
    del context
    return reply_to(primitive, primitive.text) if primitive.appends else RunOutput()


def reply_to(primitive: StagedInput, reply: str) -> RunOutput:
    """Append the texts of the run's inputs and one message of the assistant."""
    said = [{"role": append.role, "content": append.text} for append in primitive.appends]
    return RunOutput(append=[*said, {"role": "assistant", "content": reply}], result=reply)


def load_executor(spec: str) -> Executor:
    """The executor that ``MODULE:NAME`` names; modules of the current directory count.

    Raises UsageError, saying what is wrong with it.
    """
    module_name, colon, name = spec.partition(":")
    if not (module_name and colon and name):
        raise UsageError(f"--executor takes MODULE:NAME, not {spec!r}")
    if HERE not in sys.path:
        sys.path.insert(0, HERE)
    with _told(f"--executor {spec}: cannot import {module_name}"):
        module = importlib.import_module(module_name)
    with _told(f"--executor {spec}: cannot use {name} of {module_name}"):
        found: object = module
        for part in name.split("."):
            if not hasattr(found, part):
                raise UsageError(f"--executor {spec}: {module_name} has no {name}")
            found = getattr(found, part)
        if inspect.isclass(found):
            raise UsageError(f"--executor {spec}: it is a class; name a function or an object")
        try:
            return checked_executor(found)
        except TypeError as error:
            raise UsageError(f"--executor {spec}: {error}") from error


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Whatever a user's code raises while we look at it is a UsageError, sys.exit() included."""
    try:
        yield
    except (UsageError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise UsageError(f"{what}: {_said(error)}") from error


def _said(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - its text is the user's code too
        return type(error).__name__
