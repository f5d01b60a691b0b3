"""Arguments: the grammar of the command line, and its help."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Final

from actors.cli import help_texts
from actors.cli.backup import BackupOptions, backup
from actors.cli.control import VERBS, ControlOptions, control
from actors.cli.doctor import DoctorOptions, doctor
from actors.cli.listings import (
    InputsOptions,
    Paging,
    ReceiptsOptions,
    RuntimesOptions,
    inputs,
    receipts,
    runtimes,
)
from actors.cli.run import RunOptions, run
from actors.cli.show import ShowOptions, show
from actors.cli.status import ExitStatus, UsageError
from actors.cli.tidying import PruneOptions, VacuumOptions, prune, vacuum
from meerkat.errors import StoreError
from meerkat.limits import Retention
from meerkat.runtime_lifecycle import RuntimeState
from meerkat.store import Order, RuntimeStore, open_store
from meerkat.store.protocol import EVERY_STATE

DEFAULT_STORE: Final = "sqlite:///meerkat.db"
PAGE: Final = 50
"""Lines of a listing, unless it is said: what one looks through."""

DAY_S: Final = 86_400.0

DISTRIBUTION: Final = "meerkat-runtime"


def act_on(arguments: Sequence[str]) -> ExitStatus:
    """Do what the arguments say.

    Raises SystemExit with the status after help, or after a message about wrong usage, and
    what the command raises.
    """
    act = _parser().parse_args(arguments)
    call: Callable[[argparse.Namespace, Sequence[str]], ExitStatus] = act.call
    return call(act, arguments)


def _run(given: argparse.Namespace, arguments: Sequence[str]) -> ExitStatus:
    return run(
        RunOptions(
            inputs=given.inputs,
            store=_store(given.store),
            executor=given.executor,
            command=given.command,
            max_concurrent_runs=given.max_concurrent_runs,
            json=given.json,
            arguments=tuple(arguments),
        )
    )


def _show(given: argparse.Namespace, arguments: Sequence[str]) -> ExitStatus:
    del arguments
    return show(
        ShowOptions(
            runtime_id=given.runtime,
            store=_store(given.store),
            messages=given.messages,
            json=given.json,
        )
    )


def _runtimes(given: argparse.Namespace, arguments: Sequence[str]) -> ExitStatus:
    del arguments
    return runtimes(
        RuntimesOptions(
            store=_store(given.store),
            order=Order(given.sort),
            states=frozenset(map(RuntimeState, given.state)) or EVERY_STATE,
            paging=_paging(given),
        )
    )


def _inputs(given: argparse.Namespace, arguments: Sequence[str]) -> ExitStatus:
    del arguments
    return inputs(
        InputsOptions(
            runtime_id=given.runtime,
            store=_store(given.store),
            ended=given.ended,
            payload=given.payload,
            paging=_paging(given),
        )
    )


def _receipts(given: argparse.Namespace, arguments: Sequence[str]) -> ExitStatus:
    del arguments
    return receipts(
        ReceiptsOptions(runtime_id=given.runtime, store=_store(given.store), paging=_paging(given))
    )


def _control(given: argparse.Namespace, arguments: Sequence[str]) -> ExitStatus:
    return control(
        ControlOptions(
            verb=arguments[0],
            runtime_id=given.runtime,
            store=_store(given.store),
            yes=given.yes,
            json=given.json,
        )
    )


def _doctor(given: argparse.Namespace, arguments: Sequence[str]) -> ExitStatus:
    del arguments
    return doctor(DoctorOptions(store=_store(given.store), json=given.json))


def _backup(given: argparse.Namespace, arguments: Sequence[str]) -> ExitStatus:
    del arguments
    return backup(BackupOptions(target=given.file, store=_store(given.store), json=given.json))


def _prune(given: argparse.Namespace, arguments: Sequence[str]) -> ExitStatus:
    del arguments
    age_s = None if given.max_age_days is None else given.max_age_days * DAY_S
    return prune(
        PruneOptions(
            keep=Retention(max_age_s=age_s, max_count=given.max_count),
            store=_store(given.store),
            yes=given.yes,
            json=given.json,
        )
    )


def _vacuum(given: argparse.Namespace, arguments: Sequence[str]) -> ExitStatus:
    del arguments
    return vacuum(VacuumOptions(store=_store(given.store), json=given.json))


def _paging(given: argparse.Namespace) -> Paging:
    return Paging(after=given.after, limit=given.limit, json=given.json)


def _store(url: str) -> RuntimeStore:
    try:
        return open_store(url)
    except StoreError as error:
        raise UsageError(f"--store: {error.text}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="meerkat", description="Durable agent sessions from the command line."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_run(
        _command(commands, "run", "INPUTS", "take a file of inputs to its end", help_texts.RUN_HELP)
    )
    _add_show(
        _command(
            commands, "show", "RUNTIME", "print what is stored of a runtime", help_texts.SHOW_HELP
        )
    )
    _add_runtimes(
        _command(commands, "runtimes", "", "list the runtimes of a store", help_texts.RUNTIMES_HELP)
    )
    _add_inputs(_command(commands, "inputs", "RUNTIME", "list its inputs", help_texts.INPUTS_HELP))
    _add_receipts(
        _command(commands, "receipts", "RUNTIME", "list its receipts", help_texts.RECEIPTS_HELP)
    )
    _add_doctor(
        _command(commands, "doctor", "", "say what is wrong with a store", help_texts.DOCTOR_HELP)
    )
    _add_backup(
        _command(commands, "backup", "FILE", "copy a store that is in use", help_texts.BACKUP_HELP)
    )
    _add_prune(_command(commands, "prune", "", "cut the past down", help_texts.PRUNE_HELP))
    _add_vacuum(_command(commands, "vacuum", "", "make the file smaller", help_texts.VACUUM_HELP))
    for name, verb in VERBS.items():
        text = help_texts.control(name, verb.does)
        _add_control(_command(commands, name, "RUNTIME", verb.summary, text))
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    operand: str,
    summary: str,
    text: str,
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=summary,
        description=text,
        usage=" ".join(part for part in ("meerkat", name, operand, "[options]") if part),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("inputs", metavar="INPUTS", help="the file, one JSON document a line")
    _add_store(parser)
    executors = parser.add_mutually_exclusive_group()
    executors.add_argument(
        "--executor",
        metavar="MODULE:NAME",
        help="a function (context, primitive) -> RunOutput; without one, an echo",
    )
    executors.add_argument(
        "--command",
        metavar="CMD",
        help="a program started for each run: JSON in, JSON out",
    )
    parser.add_argument(
        "--max-concurrent-runs",
        metavar="N",
        type=_positive,
        help="runs side by side (default: 64)",
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.set_defaults(call=_run)


def _add_show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runtime", metavar="RUNTIME", help="the id of the runtime")
    _add_store(parser)
    parser.add_argument("--messages", action="store_true", help="print the messages")
    parser.add_argument("--json", action="store_true", help="print JSON, on one line")
    parser.set_defaults(call=_show)


def _add_runtimes(parser: argparse.ArgumentParser) -> None:
    _add_store(parser)
    parser.add_argument(
        "--sort",
        metavar="BY",
        choices=[str(order) for order in Order],
        default=str(Order.ID),
        help="id, pending (most of them first), or oldest (default: %(default)s)",
    )
    parser.add_argument(
        "--state",
        action="append",
        metavar="STATE",
        choices=[str(state) for state in RuntimeState],
        default=[],
        help="only runtimes in this state; may be given again. States: %(choices)s",
    )
    _add_paging(parser)
    parser.set_defaults(call=_runtimes)


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runtime", metavar="RUNTIME", help="the id of the runtime")
    _add_store(parser)
    parser.add_argument("--ended", action="store_true", help="those that have ended")
    parser.add_argument("--payload", action="store_true", help="show what they say")
    _add_paging(parser)
    parser.set_defaults(call=_inputs)


def _add_receipts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runtime", metavar="RUNTIME", help="the id of the runtime")
    _add_store(parser)
    _add_paging(parser)
    parser.set_defaults(call=_receipts)


def _add_control(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runtime", metavar="RUNTIME", help="the id of the runtime")
    _add_store(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="print JSON, on one line")
    parser.set_defaults(call=_control)


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    _add_store(parser)
    parser.add_argument("--json", action="store_true", help="print JSON, on one line")
    parser.set_defaults(call=_doctor)


def _add_backup(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the copy; it must not be there")
    _add_store(parser)
    parser.add_argument("--json", action="store_true", help="print JSON, on one line")
    parser.set_defaults(call=_backup)


def _add_prune(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-age-days", metavar="D", type=_positive, help="keep what ended in the last D days"
    )
    parser.add_argument(
        "--max-count", metavar="N", type=_positive, help="keep the last N inputs of each runtime"
    )
    _add_store(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="print JSON, on one line")
    parser.set_defaults(call=_prune)


def _add_vacuum(parser: argparse.ArgumentParser) -> None:
    _add_store(parser)
    parser.add_argument("--json", action="store_true", help="print JSON, on one line")
    parser.set_defaults(call=_vacuum)


def _add_paging(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--limit", metavar="N", type=_positive, default=PAGE, help="how many (default: %(default)s)"
    )
    parser.add_argument("--after", metavar="PLACE", help="go on where the last page said")
    parser.add_argument("--json", action="store_true", help="print JSON, on one line")


def _add_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--store",
        metavar="URL",
        default=DEFAULT_STORE,
        help="where sessions are kept (default: %(default)s)",
    )


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)


def _version() -> str:
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "(not installed)"
