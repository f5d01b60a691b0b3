"""Is a history of overlapping calls linearizable? Just-in-time linearization, with memory.

A history is linearizable if each call can be given one moment between its begin and its end
at which it takes place as if alone (M. Herlihy and J. Wing, 1990). The search for such moments
is that of J. Wing and C. Gong (1993) in the form of G. Lowe, "Testing for linearizability"
(2017): the history is read forwards, and a call is given its moment only when that of a call
that ends has to be found. All that is carried on is the set of *configurations*, each the
state of the model and the calls under way that have had their moment; each is looked at once.
Knossos' ``linear`` does the same. What is independent is checked apart (A. Horn and
D. Kroening, 2015): here every runtime.

A call without an end may have its moment at any later time, or never. A model may change of its
own accord, as a runtime does when a run begins or ends.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any, Protocol, TypeAlias

from attrs import field, frozen

CONFIGURATIONS_MAX = 50_000
"""More than this for one end of a call, and nobody will know."""


class Undecided(Exception):
    """Too many calls overlap, without an answer most of them, to look at every order."""


class Model(Protocol):
    """What the calls would do one after the other. States are hashable values."""

    def apply(self, state: Any, operation: Any) -> tuple[Any, Hashable]:
        """What a call answers, and the state that it leaves."""

    def by_itself(self, state: Any) -> Iterable[Hashable]:
        """The states that may follow without any call."""

    def only_looks(self, operation: Any, answer: Any) -> bool:
        """Does a call with this answer leave every state as it is?"""


@frozen
class Call:
    """One call as it was seen: what was asked, and the answer, between two moments."""

    operation: Any
    called: int = field(kw_only=True)
    returned: int | None = field(default=None, kw_only=True)
    """None for one that has no answer: nobody knows when it took place, or whether it did."""
    answer: Any = field(default=None, kw_only=True)


Configuration: TypeAlias = tuple[Any, frozenset[int]]
"""A state of the model, and the calls under way that have taken place in it."""


@frozen
class Anomaly:
    """The first end of a call that no order explains."""

    call: Call
    under_way: tuple[Call, ...]
    states: tuple[Any, ...]
    """What the model could have been in before."""

    def __str__(self) -> str:
        lines = [f"{self.call.operation} answered {self.call.answer!r}, which no order explains."]
        lines += [f"  under way: {each}" for each in self.under_way]
        lines += [f"  the model may be in: {each}" for each in self.states[:10]]
        return "\n".join(lines)


def anomaly_in(history: Sequence[Call], model: Model, start: Hashable) -> Anomaly | None:
    """None if the history is linearizable, else where it stops being so. May raise Undecided."""
    search = _Search(model, history)
    under_way: set[int] = set()
    reached: set[Configuration] = {(start, frozenset())}
    for _, number in _moments(history):
        if number not in under_way:
            under_way.add(number)
            continue
        after = search.with_moment_for(number, reached, under_way)
        under_way.discard(number)
        if not after:
            states = tuple({state: None for state, _ in reached})
            return Anomaly(history[number], tuple(history[each] for each in under_way), states)
        reached = after
    return None


def _moments(history: Sequence[Call]) -> list[tuple[int, int]]:
    """The begins and ends in their order, each with the number of its call."""
    begins = [(call.called, number) for number, call in enumerate(history)]
    ends = [(call.returned, n) for n, call in enumerate(history) if call.returned is not None]
    return sorted([*begins, *ends])


class _Search:
    """The way from the configurations at one moment to those at the next.

    Two things that can make no difference to whether there is a way are never tried: that a
    call that only looks takes place later than it might, and that one without an answer took
    place when the same is reached without it.
    """

    def __init__(self, model: Model, history: Sequence[Call]) -> None:
        self._history = history
        self._apply = cache(model.apply)
        self._by_itself = cache(lambda state: tuple(model.by_itself(state)))
        self._unanswered = frozenset(n for n, each in enumerate(history) if each.returned is None)
        self._lookers = frozenset(
            number
            for number, each in enumerate(history)
            if each.returned is not None and model.only_looks(each.operation, each.answer)
        )

    def with_moment_for(
        self, ending: int, reached: Iterable[Configuration], under_way: Iterable[int]
    ) -> set[Configuration]:
        """The configurations in which a call that ends has taken place, without it."""
        found: set[Configuration] = set()
        waiting = [self._with_lookers(each, under_way) for each in reached]
        seen = set(waiting)
        while waiting:
            state, had_moment = waiting.pop()
            if ending in had_moment:
                found.add((state, had_moment - {ending}))
                continue
            for each in self._nexts(state, had_moment, under_way):
                after = self._with_lookers(each, under_way)
                if after not in seen:
                    seen.add(after)
                    waiting.append(after)
            if len(seen) > CONFIGURATIONS_MAX:
                raise Undecided
        return self._without_needless(found)

    def _nexts(
        self, state: Any, had_moment: frozenset[int], under_way: Iterable[int]
    ) -> Iterator[Configuration]:
        for after in self._by_itself(state):
            yield after, had_moment
        for number in under_way:
            if number not in had_moment:
                call = self._history[number]
                answer, after = self._apply(state, call.operation)
                fits = after != state if call.returned is None else answer == call.answer
                if fits:
                    yield after, had_moment | {number}

    def _with_lookers(
        self, configuration: Configuration, under_way: Iterable[int]
    ) -> Configuration:
        """With the moment of every call that only looks, and sees what is here."""
        state, had_moment = configuration
        fitting = [
            number
            for number in under_way
            if number in self._lookers and number not in had_moment
            if self._apply(state, self._history[number].operation)[0]
            == self._history[number].answer
        ]
        return (state, had_moment.union(fitting)) if fitting else configuration

    def _without_needless(self, found: set[Configuration]) -> set[Configuration]:
        """Without those that only differ by a call without an answer which took place, too."""
        if not self._unanswered:
            return found
        alike: dict[Configuration, list[frozenset[int]]] = {}
        for state, had_moment in found:
            unanswered = had_moment & self._unanswered
            alike.setdefault((state, had_moment - unanswered), []).append(unanswered)
        return {
            (state, answered | least)
            for (state, answered), several in alike.items()
            for least in several
            if not any(other < least for other in several)
        }
