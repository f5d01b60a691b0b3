"""``meerkat backup``: a copy of a database, while its owner goes on."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from attrs import frozen

from actors.cli.grammar import Command, add_json, add_store, store_of
from actors.cli.looking import database_of
from actors.cli.status import ExitStatus
from actors.cli.texts import json_line
from meerkat.store import RuntimeStore
from meerkat.store.sqlite_backup import back_up


@frozen(kw_only=True)
class BackupOptions:
    """What the command line says."""

    target: str
    store: RuntimeStore
    json: bool


def backup(options: BackupOptions) -> ExitStatus:
    """Make it. Raises UsageError and StoreError."""
    target = Path(options.target).absolute()
    size = back_up(database_of(options.store), target)
    if options.json:
        print(json_line({"file": str(target), "bytes": size}))
    else:
        print(f"{target}: {size} bytes")
    return ExitStatus.OK


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the copy; it must not be there")
    add_store(parser)
    add_json(parser)


def _act(given: argparse.Namespace) -> ExitStatus:
    return backup(BackupOptions(target=given.file, store=store_of(given), json=given.json))


BACKUP: Final = Command(
    name="backup",
    operand="FILE",
    summary="copy a store that is in use",
    help="""\
Copy a database, as of now, to a file
that is not there yet, while its owner
goes on.

examples:
  meerkat backup monday.db
  meerkat backup monday.db \\
    --store sqlite:///sessions.db

""",
    add_options=_add_options,
    act=_act,
)
