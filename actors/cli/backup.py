"""``meerkat backup``: a copy of a database, while its owner goes on."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

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
