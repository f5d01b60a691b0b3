"""``meerkat doctor``: everything that is wrong with a database file, and what to do about it.

It reads beside a running process, and changes nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Final

from attrs import frozen

from actors.cli.grammar import Command, add_json, add_store, store_of
from actors.cli.looking import database_of
from actors.cli.outputs import say
from actors.cli.status import ExitStatus
from actors.cli.texts import counted, json_line, one_line
from meerkat.store import RuntimeStore
from meerkat.store.schema import SCHEMA_VERSION
from meerkat.store.sqlite_checkup import Checkup, Finding, Part

ADVICE: Final[Mapping[Part, str]] = {
    Part.FILE: (
        "Damaged, or cut short: stop the owner, keep a copy of the file with its -wal, and "
        "restore a backup."
    ),
    Part.ACCESS: "What sessions say is for their owner alone: chmod 600.",
    Part.SCHEMA: (
        "Nothing of it was looked at or touched. Of a newer meerkat: use that one. Of another "
        "application: see which file --store names."
    ),
    Part.RUNTIME: "The runtime stays unavailable, the others go on; restore it from a backup.",
    Part.INPUT: (
        "A runtime with such an input that has not ended stays unavailable, the others go on; "
        "restore it from a backup."
    ),
    Part.RECEIPT: "What ran cannot be proven; compare with a backup before it is relied on.",
    Part.MESSAGES: "The session is not what its runs committed; compare it with a backup.",
    Part.OPERATION: "The operations of that session cannot be told of; restore it from a backup.",
}
"""What to do about a finding, by what it is about."""


@frozen(kw_only=True)
class DoctorOptions:
    """What the command line says."""

    store: RuntimeStore
    json: bool


def doctor(options: DoctorOptions) -> ExitStatus:
    """Print what is wrong. Raises UsageError and StoreError."""
    checkup = Checkup(database_of(options.store))
    findings: list[Finding] = []
    for finding in checkup:
        findings.append(finding)
        if not options.json:
            print(_line(finding))
    if options.json:
        print(json_line(_document(checkup, findings)))
        return _status(findings)
    for part in sorted({finding.part for finding in findings}, key=list(Part).index):
        print(f"\n{part}: {ADVICE[part]}")
    seen = ", ".join(counted(checkup.checked[part], one) for part, one in _looked_at(checkup))
    nothing = "an empty file" if checkup.readable else "nothing of it"
    say(f"looked at {seen or nothing}; {counted(len(findings), 'finding')}")
    if checkup.schema is not None and checkup.schema < SCHEMA_VERSION:
        say(f"its schema is {checkup.schema}: the next start brings it to {SCHEMA_VERSION}")
    return _status(findings)


def _status(findings: list[Finding]) -> ExitStatus:
    return ExitStatus.TROUBLE if findings else ExitStatus.OK


def _line(finding: Finding) -> str:
    where = "" if finding.runtime is None else f"runtime {one_line(finding.runtime)}: "
    return f"{finding.part}: {where}{one_line(finding.found)}"


def _document(checkup: Checkup, findings: list[Finding]) -> dict[str, object]:
    return {
        "findings": [
            {"part": str(each.part), "runtime_id": each.runtime, "found": each.found}
            for each in findings
        ],
        "looked_at": {f"{one}s": checkup.checked[part] for part, one in _looked_at(checkup)},
        "schema": checkup.schema,
    }


def _looked_at(checkup: Checkup) -> list[tuple[Part, str]]:
    """The parts of which there were some, and what one of each is called."""
    return [(part, one) for part, one in _ONE.items() if checkup.checked[part]]


_ONE: Final[Mapping[Part, str]] = {
    Part.RUNTIME: "runtime",
    Part.INPUT: "input",
    Part.RECEIPT: "receipt",
    Part.MESSAGES: "message",
    Part.OPERATION: "operation",
}


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_store(parser)
    add_json(parser)


def _act(given: argparse.Namespace) -> ExitStatus:
    return doctor(DoctorOptions(store=store_of(given), json=given.json))


DOCTOR: Final = Command(
    name="doctor",
    summary="say what is wrong with a store",
    help="""\
Go through a whole database and print
what is wrong and what to do: damaged
pages, rows that cannot be read, missing
receipts, messages that no receipt
proves. It reads beside a running
process, and changes nothing.

examples:
  meerkat doctor
  meerkat doctor --json

""",
    add_options=_add_options,
    act=_act,
)
