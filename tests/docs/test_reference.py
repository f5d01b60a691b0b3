"""The reference leaves nothing out, and what is made from the code says what the code says."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module

import pytest
from page_blocks import TOP

from actors.cli.arguments import COMMANDS
from actors.cli.status import ExitStatus
from actors.dashboard import actions, app, asked, desk, serving, sources, streams
from meerkat.fail_points import FailPoint
from meerkat.input_lifecycle import InputPhase
from meerkat.runtime_lifecycle import RuntimeState

DOCS = TOP / "docs"
REFERENCE = DOCS / "reference"

MADE = """\
import make_reference
for target, make in make_reference.PAGES.items():
    if not target.exists() or target.read_text(encoding="utf-8") != make():
        print(target)
"""


def test_what_is_made_from_the_code_is_up_to_date() -> None:
    found = subprocess.run(
        [sys.executable, "-c", MADE], cwd=DOCS, capture_output=True, text=True, check=True
    )
    assert not found.stdout, "run: python docs/make_reference.py"


def test_every_word_is_in_the_tables() -> None:
    page = (REFERENCE / "tables.md").read_text("utf-8")
    for word in (*InputPhase, *RuntimeState, *FailPoint):
        assert str(word) in page


def test_every_command_and_every_exit_status_has_its_place() -> None:
    page = (REFERENCE / "command-line.md").read_text("utf-8")
    for command in COMMANDS:
        assert f"## meerkat {command.name}\n" in page
    for status in ExitStatus:
        assert f"| {int(status)} | " in page


def test_the_limits_of_the_live_page_are_the_real_ones() -> None:
    told = [
        f"| entries in an answer | {asked.PAGE_MAX}; {asked.PAYLOADS_MAX} with what they say |",
        f"| looks at the store at once | {desk.READS_MAX} |",
        f"| actions at once | {desk.ACTS_MAX} |",
        f"| time an action is waited for | {sources.ACT_TIMEOUT_S:g} s |",
        f"| open streams | {streams.STREAMS_MAX} |",
        f"| events to one reader | {streams.BURST} together, then a pause of {streams.PAUSE_S} s |",
        f"| {serving.HEAD_BYTES_MAX // 1024} KiB; {actions.BODY_BYTES_MAX // 1024} KiB |",
        f"| time for the head, and for the body, to arrive | {serving.HEAD_S:g} s |",
        f"| time that a reader may read nothing | {app.SEND_S:g} s |",
    ]
    page = (DOCS / "how-to" / "page.md").read_text("utf-8")
    assert [line for line in told if line not in page] == []
    assert serving.HEAD_S == actions.BODY_S


PAGES = {
    "meerkat": "meerkat.md",
    "meerkat.store": "store.md",
    "meerkat.testing": "testing.md",
    "actors": "actors.md",
}


@pytest.mark.parametrize("package", PAGES)
def test_every_public_name_is_in_the_reference(package: str) -> None:
    page = (REFERENCE / "api" / PAGES[package]).read_text("utf-8")
    told = re.findall(r"^\.\. auto\w+:: (\S+)$", page, re.MULTILINE)
    assert len(told) == len(set(told))
    assert {f"{package}.{name}" for name in import_module(package).__all__} <= set(told)


@pytest.mark.parametrize("module", ["meerkat.errors", "actors.aio"])
def test_modules_that_are_told_as_a_whole(module: str) -> None:
    told = "\n".join(page.read_text("utf-8") for page in (REFERENCE / "api").glob("*.md"))
    assert f".. automodule:: {module}\n" in told
