"""The command line, ``meerkat``; what it can do stands in ``arguments``.

Here every ending becomes an exit status and, if it is not a good one, a line on standard
error. What is printed on standard output is the answer and nothing else.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence

from actors.cli.arguments import act_on
from actors.cli.outputs import drop, replace_the_closed, say
from actors.cli.status import ExitStatus, NotFoundError, OwnerError, UsageError
from actors.cli.texts import one_line
from meerkat.errors import MeerkatError, RecoveryCorruption, StoreError
from meerkat.store.ownership import StoreInUse
from meerkat.store.sqlite_file import Damaged, NotOurs

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the arguments say and give the exit status. Raises nothing."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    replace_the_closed()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a message may hold what no locale has
    status = _with_status(lambda: act_on(arguments))
    return int(_with_status(_flush) or status)


def _with_status(act: Callable[[], int]) -> int:
    try:
        return act()
    except SystemExit as ending:  # how argparse ends after help and after wrong usage
        return ending.code if isinstance(ending.code, int) else ExitStatus.USAGE
    except KeyboardInterrupt:
        return _fail("interrupted", ExitStatus.INTERRUPTED)
    except BrokenPipeError:
        drop(sys.stdout)
        return ExitStatus.CLOSED_OUTPUT
    except UsageError as error:
        return _fail(str(error), ExitStatus.USAGE)
    except StoreInUse as error:
        text = f"{error}; wait until it has ended, or use another --store"
        return _fail(text, ExitStatus.STORE)
    except (StoreError, RecoveryCorruption) as error:
        met = (error, error.__cause__)  # a driver says of a row that it has met
        known = any(isinstance(each, Damaged | NotOurs | RecoveryCorruption) for each in met)
        text = f"{error}; meerkat doctor says what to do" if known else str(error)
        return _fail(text, ExitStatus.STORE)
    except OwnerError as error:
        return _fail(str(error), error.status)
    except (NotFoundError, MeerkatError) as error:
        return _fail(str(error), ExitStatus.TROUBLE)
    except OSError as error:
        drop(sys.stdout)
        return _fail(f"cannot write: {error.strerror}", ExitStatus.TROUBLE)


def _fail(text: str, status: ExitStatus) -> ExitStatus:
    say(one_line(text))
    return status


def _flush() -> int:
    if sys.stdout is not None:
        sys.stdout.flush()
    return ExitStatus.OK
