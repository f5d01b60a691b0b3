"""Help: the texts of the command line, in lines that fit a narrow terminal."""

from __future__ import annotations

import textwrap
from typing import Final

STATUSES: Final = """\
exit status:
  0    everything was done
  1    a bad line, an input that was
       refused or given up, no such
       runtime, or something wrong
  2    the command line is wrong
  3    the store refused or failed
  130  stopped by Ctrl-C or SIGTERM
  141  the reader of the output left
"""

RUN_HELP: Final = f"""\
Offer every input of a file to its
runtime, work all of them, and print a
summary. Run again, it accepts nothing
twice and runs nothing twice; stopped or
killed and run again, it does the rest.

A line of the file:
  {{"runtime_id": "support-1", "input":
   {{"input_type": "prompt",
    "content": "Hi",
    "idempotency_key": "1/0"}}}}

examples:
  meerkat run inputs.jsonl
  meerkat run inputs.jsonl \\
    --executor my_agent:answer
  meerkat run inputs.jsonl \\
    --command "python agent.py" --json

{STATUSES}"""

SHOW_HELP: Final = f"""\
Print what is stored of one runtime. It
reads beside a running process, and
creates nothing.

examples:
  meerkat show support-1
  meerkat show support-1 --messages
  meerkat show support-1 --json
  meerkat show support-1 --messages \\
    --json

{STATUSES}"""


RUNTIMES_HELP: Final = f"""\
Print the runtimes of a store: state,
inputs that have not ended, how long the
oldest of them waits, and what is wrong.

examples:
  meerkat runtimes
  meerkat runtimes --sort pending
  meerkat runtimes --sort oldest \\
    --limit 10
  meerkat runtimes --state stopped \\
    --state retired --json

{STATUSES}"""

INPUTS_HELP: Final = f"""\
Print the inputs of a runtime that have
not ended, in the order in which they
are worked; or those that have. What an
input says is shown only when asked for.

examples:
  meerkat inputs support-1
  meerkat inputs support-1 --ended
  meerkat inputs support-1 --payload \\
    --json

{STATUSES}"""

RECEIPTS_HELP: Final = f"""\
Print the receipts of a runtime: what
each run has consumed, and how many
messages there were behind it.

examples:
  meerkat receipts support-1
  meerkat receipts support-1 --json

{STATUSES}"""


DOCTOR_HELP: Final = f"""\
Go through a whole database and print
what is wrong and what to do: damaged
pages, rows that cannot be read, missing
receipts, messages that no receipt
proves. It reads beside a running
process, and changes nothing.

examples:
  meerkat doctor
  meerkat doctor --json

{STATUSES}"""

BACKUP_HELP: Final = f"""\
Copy a database, as of now, to a file
that is not there yet, while its owner
goes on.

examples:
  meerkat backup monday.db
  meerkat backup monday.db \\
    --store sqlite:///sessions.db

{STATUSES}"""

PRUNE_HELP: Final = f"""\
Cut down what has ended and is past what
is kept: payloads, histories, receipts.
Keys and ids deduplicate for ever. The
database must not be in use.

examples:
  meerkat prune --max-age-days 30
  meerkat prune --max-count 10000 --yes

{STATUSES}"""

VACUUM_HELP: Final = f"""\
Write the file anew, as small as what is
in it. The database must not be in use,
and there must be room for another copy.

examples:
  meerkat vacuum

{STATUSES}"""

_COLUMNS: Final = 40


def control(name: str, does: str) -> str:
    """The help of a call that is made by hand."""
    return f"""\
{textwrap.fill(does, _COLUMNS)}

The database must not be in use: while a
process owns it, that one is to do it,
and is named here.

examples:
  meerkat {name} support-1
  meerkat {name} support-1 --yes --json

{STATUSES}"""
