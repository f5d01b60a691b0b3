"""Planted bugs of the running system: what leaves when, what survives what, who is answered."""

from __future__ import annotations

from typing import Final

from planted_bug import Bug

DRIVER: Final = (
    Bug(
        "an acceptance is acknowledged before its commit",
        "actors/ticket.py",
        "        self._add(Step(now, transition, reply, answer, None))\n",
        "        step = Step(now, transition, reply, answer, None)\n"
        "        step.settle()\n"
        "        self._add(step)\n",
        "actors/test_plane_frozen_disk.py::test_nothing_of_an_acceptance_leaves_before_its_commit",
    ),
    Bug(
        "everything leaves before its commit",
        "actors/driver.py",
        "        self.system.journal.submit(self.entry)\n",
        "        driver_release.release(self, ticket)\n"
        "        self.system.journal.submit(self.entry)\n",
        "actors/test_plane_frozen_disk.py::test_nothing_of_a_run_leaves_before_its_commit",
    ),
    Bug(
        "a driver goes on from a commit that failed",
        "actors/driver.py",
        "            driver_restart.begin_anew(self, message.error)\n            return\n",
        "            return\n",
        "actors/test_plane_store_faults.py::test_what_was_decided_on_top_of_a_failed_commit_did_not_happen",
    ),
    Bug(
        "the store is not asked about an input that memory does not know",
        "actors/driver_messages.py",
        "    if memory.head.phase.admits and in_memory is None:\n",
        "    if memory.head.phase.admits and in_memory is not None:\n",
        "actors/test_plane_known_inputs.py::test_one_that_has_ended_since_is_known_when_it_comes_again",
    ),
    Bug(
        "an event without an input is dropped",
        "actors/driver_release.py",
        "    if transition.told:\n",
        "    if transition.told and transition.states:\n",
        "actors/test_plane_events.py::test_a_host_event_is_ordered_with_the_rest_and_told_once",
    ),
    Bug(
        "a handle asked for after the end is never told",
        "actors/completions.py",
        "            settle(handle.set_result, outcome)\n            return False\n",
        "            return False\n",
        "actors/test_plane_completions.py::test_cmp_06_a_handle_on_what_has_ended_is_resolved",
    ),
    Bug(
        "a handle is left open when its input ends",
        "actors/driver_release.py",
        "        driver.system.completions.resolve(driver.runtime_id, state.input_id, outcome)\n",
        "",
        "actors/test_plane_completions.py::test_cmp_01_a_waiter_gets_the_result",
    ),
    Bug(
        "a duplicate's handle waits for nothing",
        "actors/driver_messages.py",
        "case Accepted(state=state) | Deduplicated(existing_state=state):",
        "case Accepted(state=state):",
        "actors/test_plane_completions.py::test_cmp_10_a_duplicate_gets_a_handle_on_the_first",
    ),
    Bug(
        "events are numbered before the runtime is claimed",
        "actors/driver.py",
        "if ticket.commit.writes or (not self.claimed and self._is_to_claim(ticket)):",
        "if ticket.commit.writes:",
        "actors/test_plane_events.py"
        "::test_a_number_that_was_told_is_not_given_again_though_nothing_else_was_written",
    ),
    Bug(
        "a run that a stop cuts short is given up as cancelled",
        "actors/driver_runs.py",
        "case Cancelled() if driver.seat.interrupted or not driver.cut_short:",
        "case Cancelled():",
        "actors/test_plane_stopping.py::test_a_run_that_gives_way_at_a_stop_costs_its_input_nothing",
    ),
    Bug(
        "a run that has had its time is left to go on",
        "actors/driver_runs.py",
        "        driver.seat.fence(message.run_id)\n\n\ndef _run_stuck",
        "\n\ndef _run_stuck",
        "actors/test_plane_deadlines.py::test_a_run_that_waits_is_woken_by_its_deadline",
    ),
    Bug(
        "a stale back-off ends a newer one",
        "actors/driver_runs.py",
        "driver.memory is not None and driver.holds.get(message.lane) == message.hold:",
        "driver.memory is not None and message.lane in driver.holds:",
        "actors/test_plane_endurance.py::test_a_stale_back_off_ends_no_newer_one",
    ),
    Bug(
        "a run is started before the pause is over",
        "actors/driver_next.py",
        "if driver.held_off or held_back or gone or not memory.runnable:",
        "if held_back or gone or not memory.runnable:",
        "actors/test_plane_driver_restarts.py::test_no_run_is_started_before_the_pause_is_over_though_calls_are_answered",
    ),
    Bug(
        "two runs of one runtime are under way",
        "actors/driver_next.py",
        "    elif driver.seat.occupied:\n"
        "        return  # one run of a runtime at a time, a fenced one included\n",
        "",
        "actors/test_plane_deadlines.py::test_it_is_not_tried_again_while_the_old_run_is_in_its_grace",
    ),
    Bug(
        "a runtime is unregistered under its run",
        "actors/driver_next.py",
        "if not driver.unregistering or memory.head.run is not None or not memory.head.registered:",
        "if not driver.unregistering or not memory.head.registered:",
        "actors/test_plane_unregister.py::test_unr_06_unregister_waits_for_the_run_in_hand",
    ),
)

JOURNAL: Final = (
    Bug(
        "one bad batch is everybody's answer",
        "actors/journal.py",
        "            entry.tell(answer)\n",
        "            entry.tell(next(filter(None, answers), None))\n",
        "actors/test_who_commits.py::test_each_batch_has_an_answer_of_its_own",
    ),
    Bug(
        "what a writer that fails had in hand is said not to be written",
        "actors/journal.py",
        'said = CommitUnknown(f"{type(error).__name__} while committing")',
        'said = StoreError(f"{type(error).__name__} while committing")',
        "actors/test_plane_journal_restarts.py::test_nobody_knows_what_the_writer_had_in_hand_and_the_store_says",
    ),
    Bug(
        "a group has no bound",
        "actors/journal.py",
        "islice(self._waiting, BATCHES_A_GROUP)",
        "islice(self._waiting, None)",
        "actors/test_who_commits.py::test_a_group_is_bounded",
    ),
)

SEAT: Final = (
    Bug(
        "a run slot too many is given",
        "actors/run_places.py",
        "if len(self._holders) < self._slots and not self._waiting:",
        "if len(self._holders) <= self._slots and not self._waiting:",
        "actors/test_plane_order.py::test_waiting_for_a_slot_costs_no_attempt",
    ),
    Bug(
        "what a boundary took is still waited for",
        "actors/seat.py",
        "            self._steered.discard(state.input_id)\n",
        "            pass\n",
        "actors/test_plane_waits.py::test_a_boundary_may_be_taken_without_waiting_for_its_sign",
    ),
    Bug(
        "a run does not see what the one before it said",
        "actors/seat.py",
        "            self._conversation.apply(message.ending.plan.change)\n",
        "",
        "actors/test_plane_boundary_commits.py"
        "::test_rcp_07_a_run_ends_on_top_of_what_its_boundaries_committed",
    ),
    Bug(
        "a call is heard for ever",
        "actors/attention.py",
        "            self._work_waits = False\n",
        "",
        "actors/test_attention.py::test_a_call_is_heard_once",
    ),
    Bug(
        "a run is asked to end at a boundary and goes on",
        "actors/attention.py",
        "        if self._ends_at_boundary:\n            raise RunCancelled\n",
        "",
        "actors/test_attention.py::test_what_ends_a_run_comes_first",
    ),
)

BINDINGS: Final = (
    Bug(
        "bindings are made anew at each call",
        "actors/bindings.py",
        "            self._bindings[runtime_id] = made\n"
        "            self._let_go.drop(made.epoch_id)\n        if earlier",
        "            self._let_go.drop(made.epoch_id)\n        if earlier",
        "actors/test_plane_epochs.py::test_epo_02_bindings_are_the_same_when_prepared_again",
    ),
    Bug(
        "a run of an epoch that is over gets a registry that lives",
        "actors/bindings.py",
        "        made.ops_lifecycle.terminate_owner(EPOCH_ROTATED)\n        return made\n",
        "        return made\n",
        "actors/test_plane_op_owners.py::test_a_run_that_was_fenced_gets_the_bindings_of_no_later_epoch",
    ),
    Bug(
        "the end of an operation is told before it is stored",
        "actors/operation_log.py",
        "        wait_for(reply, _CALL, None)\n",
        "",
        "actors/test_plane_op_records.py::test_nothing_of_an_end_leaves_before_it_is_on_disk",
    ),
    Bug(
        "nobody keeps in mind that an operation has begun",
        "actors/operation_log.py",
        "self.desk.directory.deliver(self.runtime_id, m.OperationBegan(self.epoch_id, record))",
        "return",
        "actors/test_plane_passivation_ops.py::test_an_operation_that_begins_is_noted_in_the_store",
    ),
    Bug(
        "what was live when its process went is never ended",
        "actors/bindings.py",
        "            self._threads.start(partial(_insist, made.epoch_id, terminate))\n",
        "            return\n",
        "actors/test_plane_op_restarts.py::test_what_lived_when_a_process_was_killed_ends_in_the_next_one",
    ),
)

RESTART: Final = (
    Bug(
        "a child has one restart too many",
        "actors/restarts.py",
        "if len(times) >= restarts.intensity:",
        "if len(times) > restarts.intensity:",
        "actors/test_restarts.py::test_no_restart_at_all_is_a_setting",
    ),
    Bug(
        "a runtime that is brought back is set aside at its next failure",
        "actors/driver_restart.py",
        "    driver.restarts = None\n",
        "",
        "actors/test_plane_set_aside.py::test_it_has_as_many_restarts_as_ever_once_it_is_brought_back",
    ),
    Bug(
        "a driver that is taken over goes on",
        "actors/driver_restart.py",
        "            driver.set_unavailable(error)\n            refuse_unregistering",
        "            refuse_unregistering",
        "actors/test_plane_store_faults.py::test_a_fenced_driver_gives_its_runtime_up",
    ),
    Bug(
        "who waited behind a failed commit is told of a success",
        "actors/driver_restart.py",
        "        for ticket in driver.tickets():\n            ticket.fail(said)\n",
        "        for ticket in driver.tickets():\n"
        "            for step in ticket.steps:\n                step.settle()\n",
        "actors/test_plane_store_faults.py::test_what_was_decided_on_top_of_a_failed_commit_did_not_happen",
    ),
)

PASSIVATION: Final = (
    Bug(
        "a runtime whose lane is held leaves memory",
        "actors/driver_rest.py",
        "if head.run is not None or head.held or driver.seat.has_claim or ledger.has_ephemeral:",
        "if head.run is not None or driver.seat.has_claim or ledger.has_ephemeral:",
        "actors/test_plane_passivation.py::test_a_retry_that_is_due_later_comes",
    ),
    Bug(
        "a runtime with ephemeral inputs leaves memory",
        "actors/driver_rest.py",
        "driver.seat.has_claim or ledger.has_ephemeral:",
        "driver.seat.has_claim:",
        "actors/test_plane_passivation.py::test_an_ephemeral_input_keeps_it_active_or_remembered",
    ),
    Bug(
        "passivation forgets the events that a host has published",
        "actors/driver_rest.py",
        "memory.host_events = dict(note.host_events)",
        "memory.host_events = {}",
        "actors/test_plane_passivation.py::test_a_host_event_is_told_once",
    ),
    Bug(
        "what had woken nobody wakes when it comes back",
        "actors/driver_rest.py",
        "    if note.asleep:\n",
        "    if note.asleep and note.idle:\n",
        "actors/test_plane_passivation.py::test_what_woke_nobody_wakes_nobody_later",
    ),
    Bug(
        "events are numbered anew after a passivation",
        "actors/event_hub.py",
        "first = watermark + 1 if fence == stored_fence else first_sequence(stored_fence)",
        "first = 1",
        "actors/test_plane_review.py::test_a_runtime_that_comes_back_numbers_on_above",
    ),
    Bug(
        "a late reader is given what was told before",
        "actors/event_hub.py",
        "after = 0 if log is None else log.watermark",
        "after = 0",
        "actors/test_plane_events.py::test_from_now_on_means_nothing_that_was",
    ),
    Bug(
        "a plane has one runtime too many in memory",
        "actors/directory.py",
        "while len(self._drivers) >= self._live_max:",
        "while len(self._drivers) > self._live_max:",
        "actors/test_plane_live_limit.py::test_an_input_that_would_make_one_too_many_is_refused",
    ),
    Bug(
        "a plane has one call too many in flight",
        "actors/replies.py",
        "        if free <= 0:\n",
        "        if free < 0:\n",
        "actors/test_plane_limits.py::test_inputs_in_flight_of_a_plane",
    ),
)

SHUTDOWN: Final = (
    Bug(
        "a stop leaves the handles open",
        "actors/shutdown.py",
        "            system.completions.end_all(stopped)\n",
        "",
        "actors/test_plane_stopping.py::test_a_stop_lets_the_runs_in_hand_end_and_keeps_the_rest",
    ),
    Bug(
        "a stop leaves calls without an answer",
        "actors/shutdown.py",
        "            system.calls.fail_all(ControlPlaneStopped())\n",
        "",
        "actors/test_plane_stopping.py::test_a_stop_answers_who_waits_for_something_that_will_not_come",
    ),
    Bug(
        "a stop does not wait for what is under way",
        "actors/shutdown.py",
        "        return len(quiet) == len(drivers)\n",
        "        return True\n",
        "actors/test_plane_stopping.py::test_a_stop_lets_the_runs_in_hand_end_and_keeps_the_rest",
    ),
    Bug(
        "a stop drains what it was to keep",
        "actors/shutdown.py",
        "m.Quiesce(message.drain, on_quiet)",
        "m.Quiesce(True, on_quiet)",
        "actors/test_plane_stopping.py::test_a_stop_lets_the_runs_in_hand_end_and_keeps_the_rest",
    ),
    Bug(
        "a stop leaves the store open",
        "actors/shutdown.py",
        "        system.store.close()\n",
        "",
        "actors/test_plane_stop_reports.py::test_a_plane_at_rest_leaves_nothing",
    ),
    Bug(
        "a timer fires twice",
        "actors/clock.py",
        "exc_info=without_text(error))\n        else:\n            return\n",
        "exc_info=without_text(error))\n",
        "actors/test_timers.py::test_calls_are_made_when_they_are_due_and_in_that_order",
    ),
    Bug(
        "a timer that was cancelled fires",
        "actors/clock.py",
        "            timer.call = None\n",
        "",
        "actors/test_timers.py::test_a_call_that_is_cancelled_before_it_is_due_is_not_made",
    ),
    Bug(
        "retention takes the receipts of a run in hand",
        "actors/retention.py",
        "after=self._after, spared=spared",
        "after=self._after",
        "actors/test_plane_retention.py::test_a_run_in_hand_keeps_its_receipts_dense",
    ),
)

TELEMETRY: Final = (
    Bug(
        "an executor is called in nobody's context",
        "actors/run_link.py",
        "        return on_thread if self._trace is None else",
        "        return on_thread if self._run is not None else",
        "actors/test_tracing.py::test_a_run_has_the_offer_of_its_input_and_the_executor_its_context",
    ),
    Bug(
        "the trace of a run ends behind the end of its input",
        "actors/driver_release.py",
        "    if isinstance(step.reply, EndReply):\n",
        "    if step.reply is None:\n",
        "actors/test_tracing.py::test_a_run_has_ended_before_the_end_of_its_input_is_known",
    ),
    Bug(
        "what was replaced is carried for ever",
        "actors/driver_release.py",
        "            driver.system.traces.input_ended(state.input_id)\n",
        "            pass\n",
        "actors/test_tracing.py::test_an_input_that_is_replaced_is_let_go",
    ),
    Bug(
        "an error is logged with its text",
        "actors/logs.py",
        "    return TextWithheld, stand_in, error.__traceback__\n",
        "    return type(error), error, error.__traceback__\n",
        "actors/test_logs.py::test_an_error_is_logged_with_its_type_and_frames_and_without_its_text",
    ),
)

BUGS: Final = (
    *DRIVER,
    *JOURNAL,
    *SEAT,
    *BINDINGS,
    *RESTART,
    *PASSIVATION,
    *SHUTDOWN,
    *TELEMETRY,
)
