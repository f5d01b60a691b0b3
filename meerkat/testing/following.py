"""Following: the model does what executors have done meanwhile.

Only what the run in hand does counts. An executor may be a while in coming back from a run that
was stopped, cut off by a fault or killed: what it says then comes too late, for both.
"""

from __future__ import annotations

from meerkat.errors import ApplyFailed, ExecutorStopped, RunCancelled
from meerkat.identifiers import RunId
from meerkat.testing.model import RuntimeModel
from meerkat.testing.model_values import Run
from meerkat.testing.watched_runs import Happened

_SAID: tuple[type[Exception], ...] = (ApplyFailed, ExecutorStopped, RunCancelled)
"""What an executor raises to say how its run has ended: any of them may."""


class Following:
    """Has a model do what happened in runs; AssertionError for what must not happen in one.

    ``may_raise`` are the errors that the executor may fail with.
    """

    def __init__(self, model: RuntimeModel, may_raise: tuple[type[BaseException], ...]) -> None:
        self._model, self._may_raise = model, (*may_raise, *_SAID)
        self._run: Run | None = None
        self._run_id: RunId | None = None

    def take(self, happened: Happened, *, waited: bool = False) -> None:
        """Do one thing; what has ``waited`` was begun when its back-off was over."""
        if happened.what == "began":
            self._begin(happened, waited=waited)
        elif happened.run_id == self._run_id and self._run is self._model.run:
            self._go_on(happened)

    def _begin(self, happened: Happened, *, waited: bool) -> None:
        model = self._model
        if waited and model.run is None:  # nobody says that a back-off is over but its run
            model.back_off_is_over(model.inputs[happened.input_ids[0]].lane)
        expected = [] if model.run is None else [each.id for each in model.run.inputs]
        if list(happened.input_ids) != expected:
            raise AssertionError(
                f"a run began: the model expects the inputs {expected}, "
                f"found are {list(happened.input_ids)}"
            )
        if self._run is model.run:
            raise AssertionError(f"{happened.run_id} began, and {self._run_id} has its inputs")
        self._run, self._run_id = model.run, happened.run_id

    def _go_on(self, happened: Happened) -> None:
        model, said = self._model, happened.said
        match happened.what:
            case "looked":
                expected = model.hand_over()
                if list(happened.input_ids) != expected:
                    raise AssertionError(
                        f"a boundary: the model expects {expected}, "
                        f"found are {list(happened.input_ids)}"
                    )
            case "committed":
                model.commit_boundary(happened.input_ids, said)
            case "completed":
                model.complete(said)
            case "misbehaved":
                raise AssertionError(f"your executor, in run {happened.run_id}: {said}")
            case _:
                self._fail(happened)

    def _fail(self, happened: Happened) -> None:
        model, error = self._model, happened.said
        if not isinstance(error, self._may_raise):
            found = f"your executor, in run {happened.run_id}: it may not raise {error!r}"
            raise AssertionError(found) from error  # noqa: TRY004 - no argument of ours
        if isinstance(error, RunCancelled):
            model.cancel()
        elif isinstance(error, ExecutorStopped):
            model.requeue()
        else:
            model.fail(recoverable=getattr(error, "recoverable", True))
