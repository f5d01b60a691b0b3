"""Serving: the page of what a command has in hand. It is an extra, and loaded when it is asked for.

Whatever cannot be is a UsageError: nothing has been started then.
"""

from __future__ import annotations

import argparse
import importlib
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final

from attrs import frozen

from actors.cli.status import UsageError

if TYPE_CHECKING:
    from actors.dashboard import Served
    from actors.dashboard.sources import Shown

HOST: Final = "127.0.0.1"
PORT_MAX: Final = 65_535


@frozen(kw_only=True)
class PageOptions:
    """Where a page is wanted, and what it may do."""

    host: str = HOST
    port: int = 0
    """0 for one that is free."""
    names: tuple[str, ...] = ()
    """By which it is asked for beyond this machine."""
    allow_actions: bool = False
    token: str | None = None
    """What opens it; None for one that is made."""


def dashboard() -> ModuleType:
    """What serves a page."""
    try:
        return importlib.import_module("actors.dashboard")
    except ModuleNotFoundError as missing:
        raise UsageError(f"a page cannot be served: {missing}") from missing


def check_address(options: PageOptions) -> None:
    """Find out, before anything is begun, whether a page can be there."""
    serving = importlib.import_module("actors.dashboard.serving")
    try:
        serving.check(host=options.host, token=options.token, hosts=options.names)
    except ValueError as error:
        raise _unfit(error) from error
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        socket.create_server((options.host, options.port), family=family).close()
    except OSError as error:
        raise _unusable(options, error) from error


@contextmanager
def page(options: PageOptions, shown: Shown) -> Iterator[Served]:
    """The page, while this lasts."""
    with ExitStack() as stack:
        try:
            served: Served = stack.enter_context(
                dashboard().serve(
                    shown,
                    host=options.host,
                    port=options.port,
                    allow_actions=options.allow_actions,
                    hosts=options.names,
                    token=options.token,
                )
            )
        except ValueError as error:
            raise _unfit(error) from error
        except OSError as error:
            raise _unusable(options, error) from error
        yield served


def _unfit(error: ValueError) -> UsageError:
    return UsageError(f"--host, --name, --token-file: {error}")


def _unusable(options: PageOptions, error: OSError) -> UsageError:
    why = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
    return UsageError(f"cannot serve at {options.host} port {options.port}: {why}")


def token_in(path: str) -> str:
    """What a file says, as argparse wants to be told."""
    try:
        return Path(path).read_text("ascii").strip()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise argparse.ArgumentTypeError(f"{path} holds no token") from error


def port(text: str) -> int:
    """A port, as argparse wants to be told."""
    if not text.isascii() or not text.isdigit() or int(text) > PORT_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is no port")
    return int(text)
