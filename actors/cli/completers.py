"""Completers: what may stand where the command line wants a name. Needs argcomplete.

A person waits while this looks: it reads a bounded number of names, and where there is no
database, or none that can be read, there are no names.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Final, NoReturn

from argcomplete import autocomplete
from argcomplete.completers import BaseCompleter, FilesCompleter

from meerkat.errors import MeerkatError
from meerkat.identifiers import LogicalRuntimeId
from meerkat.store import open_store

NAMES_MAX: Final = 100
"""Runtimes that are offered at once: more are not looked through, and cost time."""

_FILE_URL: Final = "sqlite:///"

_BESIDE_A_DATABASE: Final = ("-owner", "-page", "-shm", "-wal")

_files: Final = FilesCompleter()


def complete(parser: argparse.ArgumentParser) -> NoReturn:
    """Tell the shell what may follow, and end the process."""
    autocomplete(parser, always_complete_options=False, default_completer=_Named())
    raise SystemExit  # nobody asked


def runtime_ids(prefix: str, store_url: str) -> list[str]:
    """The first runtimes of a store whose ids begin so."""
    with suppress(MeerkatError, ValueError):
        store = open_store(store_url)
        try:
            rows = list(store.list_runtimes(after=prefix, limit=NAMES_MAX).items)
            exact = store.load_runtime(LogicalRuntimeId(prefix)) if prefix else None
        finally:
            store.close()
        names = [str(row.runtime_id) for row in ([exact] if exact else []) + rows]
        return [name for name in names if name.startswith(prefix)]
    return []


def _runtimes(prefix: str, given: argparse.Namespace) -> list[str]:
    return runtime_ids(prefix, given.store)


def _paths(prefix: str, _given: argparse.Namespace) -> Iterable[str]:
    found: Iterable[str] = _files(prefix)
    return found


def _stores(prefix: str, _given: argparse.Namespace) -> Iterable[str]:
    if not prefix.startswith(_FILE_URL):
        return [_FILE_URL]
    found = _files(prefix.removeprefix(_FILE_URL))
    return [_FILE_URL + each for each in found if not each.endswith(_BESIDE_A_DATABASE)]


_BY_METAVAR: Final[Mapping[str, Callable[[str, argparse.Namespace], Iterable[str]]]] = {
    "RUNTIME": _runtimes,
    "INPUTS": _paths,
    "FILE": _paths,
    **dict.fromkeys(("URL", "FROM", "TO"), _stores),
}
"""What the help calls it → what may stand there; of anything else nothing is known."""


class _Named(BaseCompleter):
    """What may stand for an operand, or an option's value, that has no words of its own."""

    def __call__(
        self,
        *,
        prefix: str,
        action: argparse.Action,
        parser: argparse.ArgumentParser,  # noqa: ARG002 - as argcomplete calls it
        parsed_args: argparse.Namespace,
    ) -> Iterable[str]:
        named = _BY_METAVAR.get(str(action.metavar))
        return [] if named is None else named(prefix, parsed_args)
