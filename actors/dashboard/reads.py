"""Reads: the documents of the page, each made of one look at the source. They block.

The facts are those of the command line, under the same names. A listing is one page of the
store's own, so it costs what is on it; nothing is held open between two of them. What inputs
and sessions say, and the keys that they came with, is in none of them unless it is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from actors.dashboard.answers import bad_request, not_live
from actors.dashboard.asked import PAGE_MAX, PAYLOADS_MAX, Asked
from actors.dashboard.sources import Source, name_of
from actors.facts import (
    Facts,
    inputs_facts,
    plain,
    receipt_facts,
    runtime_facts,
    step_facts,
    stored_facts,
)
from actors.verbs import VERBS
from actors.version import version
from meerkat.conversation import SessionSnapshot
from meerkat.errors import RuntimeNotFound
from meerkat.identifiers import LogicalRuntimeId
from meerkat.input_lifecycle import InputState
from meerkat.store import Page, RuntimeRow, RuntimeStore
from meerkat.store.tally import newest_inputs

_PRIVATE: Final = "idempotency_key"
"""What comes from outside with an input, besides what it says."""


def overview(source: Source, *, allow_actions: bool) -> Facts:
    """What this page is of, and what can be done on it."""
    return {
        "version": version(),
        "store": name_of(source.store),
        "owner": source.owner(),
        "live": source.live,
        "allow_actions": allow_actions,
        "verbs": [
            {"name": name, "summary": verb.summary, "does": verb.does, "asks": verb.asks}
            for name, verb in VERBS.items()
        ],
        "figures": source.figures(),
    }


def runtimes(source: Source, asked: Asked) -> Facts:
    """A page of the runtimes, and the run that each has in hand."""
    order, states, after, limit = asked.order(), asked.states(), asked.after(), asked.limit()
    try:
        page = source.store.page_summaries(order, states=states, after=after, limit=limit)
    except ValueError:
        raise bad_request("after: is no place that a page has named") from None
    runs = source.runs()
    shown = [plain(runtime_facts(each, runs.get(each.name))) for each in page.items]
    return {"runtimes": shown, "next": page.next}


def runtime(source: Source, asked: Asked) -> Facts:
    """All that is stored of one runtime, counted, and its run in hand."""
    store = source.store
    row = _row(store, asked.runtime_id())
    run = source.runs().get(str(row.runtime_id))
    return {**stored_facts(store, row), "run": run}


def inputs(source: Source, asked: Asked) -> Facts:
    """A page of the inputs of a runtime, with their histories."""
    payload = asked.flag("payload")
    limit = asked.limit(PAYLOADS_MAX if payload else PAGE_MAX)
    store = source.store
    row = _row(store, asked.runtime_id())
    read: Callable[..., Page[InputState]]
    if not asked.flag("ended"):
        read = store.page_active_inputs
    elif not asked.flag("newest"):
        read = store.page_terminal_inputs
    else:
        read = partial(newest_inputs, store)
    page = read(row.runtime_id, after=asked.after(), limit=limit)
    shown = inputs_facts(store, row.runtime_id, page.items, payload=payload)
    if not payload:
        for facts in shown:
            facts.pop(_PRIVATE)
    told = [
        {**plain(facts), "history": [plain(step_facts(entry)) for entry in state.history]}
        for facts, state in zip(shown, page.items, strict=True)
    ]
    return {"inputs": told, "next": page.next}


def receipts(source: Source, asked: Asked) -> Facts:
    """A page of the receipts of a runtime."""
    store = source.store
    row = _row(store, asked.runtime_id())
    try:
        page = store.page_receipts(row.runtime_id, after=asked.after(), limit=asked.limit())
    except ValueError:
        raise bad_request("after: is no place that a page has named") from None
    return {"receipts": [receipt_facts(each) for each in page.items], "next": page.next}


def messages(source: Source, asked: Asked) -> Facts:
    """What a session said, as it was committed: the last of it, or what is behind ``after``."""
    store = source.store
    row = _row(store, asked.runtime_id())
    limit = asked.limit()
    snapshot = store.load_session_snapshot(row.runtime_id) or SessionSnapshot()
    said: list[Any] = json.loads(snapshot.messages)
    first = asked.number("after")
    if first is None:
        first = max(0, len(said) - limit)
    shown = said[first : first + limit]
    return {
        "runtime_id": str(row.runtime_id),
        "state": str(row.state),
        "messages": shown,
        "first": first,
        "total": len(said),
    }


def figures(source: Source, _asked: Asked) -> Facts:
    """The plane in numbers."""
    found = source.figures()
    if found is None:
        raise not_live()
    return found


def runs(source: Source, _asked: Asked) -> Facts:
    """The runs in hand; none of a store."""
    return {"runs": list(source.runs().values())}


def supervision(source: Source, _asked: Asked) -> Facts:
    """The tree of what is kept running."""
    return {"tree": source.supervision()}


def _row(store: RuntimeStore, runtime_id: LogicalRuntimeId) -> RuntimeRow:
    row = store.load_runtime(runtime_id)
    if row is None:
        raise RuntimeNotFound(runtime_id)
    return row
