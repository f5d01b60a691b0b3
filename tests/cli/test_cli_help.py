"""The help of every command, and what is said to who names none."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
from cli_support import ROOT, call

from actors.cli import arguments
from actors.cli.arguments import COMMANDS
from actors.cli.grammar import STATUSES, Command
from actors.cli.status import ExitStatus

NARROW = 40
BY_NAME = pytest.mark.parametrize("command", COMMANDS, ids=lambda each: each.name)


def examples(command: Command) -> list[list[str]]:
    """The examples of a command's help, as words: what a shell does before, taken away."""
    text = command.help.split("examples:\n")[1].replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    within = [re.sub(r'^eval "\$\((.*)\)"$', r"\1", line) for line in lines]
    return [shlex.split(line.split(" | ")[0]) for line in within]


@BY_NAME
def test_it_has_examples_and_each_of_them_is_right(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLACE", "-")
    found = examples(command)
    assert len(found) >= 2 or not command.operand
    for program, name, *rest in found:
        assert (program, name) == ("meerkat", command.name)
        place = "2026-01-01T00:00:00Z/00000000-0000-0000-0000-000000000001/0"
        words = [place if word == "$PLACE" else word for word in rest]
        given = arguments._parser().parse_args([name, *words])
        assert given.act is not None


@BY_NAME
def test_it_fits_a_narrow_terminal(
    command: Command, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(NARROW))
    status, out, err = call(capsys, command.name, "--help")
    assert (status, err) == (0, "")
    assert STATUSES in out
    assert [line for line in out.splitlines() if len(line) > NARROW] == []
    assert call(capsys, "help", command.name) == (0, out, "")


def test_every_exit_status_is_in_the_help_and_on_the_page() -> None:
    told = re.findall(r"^  (\d+) ", STATUSES, re.MULTILINE)
    page = (ROOT / "docs" / "how-to" / "operating.md").read_text()
    table = page.split("| Exit status |")[1].split("\n\n")[0]
    on_page = re.findall(r"^\| (\d+) \|", table, re.MULTILINE)
    assert told == on_page == [str(int(each)) for each in ExitStatus]


def test_all_commands_are_listed(capsys: Any) -> None:
    status, out, err = call(capsys, "--help")
    assert (status, err) == (0, "")
    for command in COMMANDS:
        assert re.search(rf"^ +{command.name}\b", out, re.MULTILINE)
    assert call(capsys, "help") == (0, out, "")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "meerkat: say what to do: meerkat --help lists the commands\n"),
        (["quit"], "there is no command 'quit'; meerkat --help lists the commands"),
        (["shwo", "a"], "there is no command 'shwo'; did you mean show? meerkat --help"),
        (["help", "shwo"], "there is no command 'shwo'; did you mean show?"),
        (["\x1b[31mred"], "there is no command '\\x1b[31mred'"),
        (["x" * 500], "there is no command 'xxxx"),
        (["--jsno"], "usage: meerkat"),
        (["show"], "RUNTIME"),
        (["show", "a", "--jsno"], "--jsno"),
        (["show", "a b"], "bad runtime id"),
    ],
    ids=lambda each: " ".join(each)[:20] if isinstance(each, list) else "",
)
def test_what_is_no_command_gets_a_line_that_helps(
    capsys: Any, given: list[str], said: str
) -> None:
    status, out, err = call(capsys, *given)
    assert (status, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) <= 3
    assert "\x1b" not in err
