"""Life logs: what is logged of a runtime's runs, and of what was done to it.

What goes well is for who debugs, what is tried again and what somebody did for who looks, what
gives inputs up for who operates.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final, cast

from attrs import asdict

from actors.logs import Fields, say
from meerkat import kernel
from meerkat.identifiers import LogicalRuntimeId
from meerkat.reports import (
    DestroyReport,
    RecoveryReport,
    RecycleReport,
    ResetReport,
    RetireReport,
    StopReport,
)
from meerkat.runs import RunInHand

logger = logging.getLogger(__name__)

REPORTED: Final[Mapping[type, str]] = {
    RecoveryReport: "recovered",
    RecycleReport: "recycled",
    ResetReport: "reset",
    RetireReport: "retired",
    StopReport: "stopped",
    DestroyReport: "destroyed",
}
"""What reports something that was done to a runtime → what that is called."""

_ENDED: Final[Mapping[type[kernel.Command], str]] = {
    kernel.CompleteRun: "is completed",
    kernel.CancelRun: "is cancelled",
    kernel.RequeueRun: "is requeued, as its executor takes no more",
    kernel.PostponeRun: "is postponed, as the store could not give its session",
}


def log_report(runtime_id: LogicalRuntimeId, report: Any) -> None:
    """Something was done to a runtime, durably; a recovery that changed nothing is no news."""
    counts = {name: n for name, n in asdict(report).items() if isinstance(n, int)}
    fields = cast("Fields", {"runtime_id": runtime_id, **counts})
    nothing = isinstance(report, RecoveryReport) and not (
        report.inputs_requeued or report.inputs_abandoned
    )
    level, said = logging.DEBUG if nothing else logging.INFO, REPORTED[type(report)]
    say(logger, level, "runtime %s: %s", runtime_id, said, **fields)


def log_begin(runtime_id: LogicalRuntimeId, run: RunInHand) -> None:
    """A run begins."""
    if logger.isEnabledFor(logging.DEBUG):
        _log_run(logging.DEBUG, runtime_id, run, "begins", {})


def log_end(
    runtime_id: LogicalRuntimeId,
    run: RunInHand,
    command: kernel.Command,
    transition: kernel.Transition,
    error_type: str | None,
) -> None:
    """The end of a run is decided; ``error_type`` says what went wrong, if something did."""
    if not isinstance(command, kernel.FailRun):
        if logger.isEnabledFor(logging.DEBUG):
            _log_run(logging.DEBUG, runtime_id, run, _ENDED[type(command)], {})
        return
    failed = Fields(error_type=error_type or "unknown")
    how = "has failed" if error_type is None else f"has failed by {error_type}"
    retry = next((e for e in transition.effects if isinstance(e, kernel.RetryLane)), None)
    if retry is None:
        said = f"{how}, and its inputs are given up"
        _log_run(logging.WARNING, runtime_id, run, said, failed)
    else:
        failed["delay_s"] = retry.delay_s
        _log_run(logging.INFO, runtime_id, run, f"{how}, and is tried again", failed)


def _log_run(
    level: int, runtime_id: LogicalRuntimeId, run: RunInHand, said: str, more: Fields
) -> None:
    fields = Fields(
        runtime_id=runtime_id,
        run_id=run.run_id,
        attempt=run.attempt,
        inputs=len(run.contributors),
        **more,
    )
    if len(run.contributors) == 1:
        fields["input_id"] = run.contributors[0]
    text, attempt = "runtime %s: run %s %s; attempt %d", run.attempt
    say(logger, level, text, runtime_id, run.run_id, said, attempt, **fields)
