"""The table from command to decision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from meerkat.kernel import accept, commands, control, operation_steps, run_steps
from meerkat.kernel.memory import RuntimeMemory
from meerkat.kernel.transition import Transition

_DECIDERS: Final[Mapping[type, Callable[[RuntimeMemory, Any, datetime], Transition]]] = {
    commands.Initialize: control.initialize,
    commands.Register: control.register,
    commands.Unregister: control.unregister,
    commands.AcceptInput: accept.accept,
    commands.TakeIn: accept.take_in,
    commands.StageRun: run_steps.stage,
    commands.HandOver: run_steps.hand_over,
    commands.CommitBoundary: run_steps.commit_boundary,
    commands.CompleteRun: run_steps.complete,
    commands.FailRun: run_steps.fail,
    commands.CancelRun: run_steps.cancel,
    commands.RequeueRun: run_steps.requeue,
    commands.PostponeRun: run_steps.postpone,
    commands.ReportProgress: run_steps.report_progress,
    commands.RemarkOnRun: run_steps.remark,
    commands.NoteOperation: operation_steps.note,
    commands.RecordOperation: operation_steps.record,
    commands.TellOperation: operation_steps.tell,
    commands.ReadFeed: operation_steps.read_feed,
    commands.Wake: control.wake,
    commands.ReleaseLane: control.release_lane,
    commands.AttachExecutor: control.attach,
    commands.DetachExecutor: control.detach,
    commands.SetPaused: control.set_paused,
    commands.SetSilentIntents: control.set_silent_intents,
    commands.PublishEvent: control.publish,
    commands.Retire: control.retire,
    commands.Recycle: control.recycle,
    commands.Reset: control.reset,
    commands.Recover: control.recover,
    commands.Stop: control.stop,
    commands.Destroy: control.destroy,
}


def decide(memory: RuntimeMemory, command: commands.Command, now: datetime) -> Transition:
    """Decide about one command at the time ``now``. Touches nothing.

    Raises a RuntimeDriverError, and then nothing has changed.
    """
    return _DECIDERS[type(command)](memory, command, now)
