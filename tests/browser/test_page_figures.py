"""What the page reckons: rates and quantiles of two looks, durations, and the lives of inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from browser_support import Page, ServePlane

BOUNDS = [0.01, 0.1, 1.0]


@pytest.fixture
def modules(page: Page, serve_plane: ServePlane) -> Page:
    _, served = serve_plane()
    page.open(served)
    return page


def look(seconds: int, consumed: int, counts: list[int], start: str = "00") -> dict[str, Any]:
    """One look at the figures, so many seconds after a full minute."""
    return {
        "at": f"2026-01-01T10:00:{seconds:02}Z",
        "started_at": f"2026-01-01T09:{start}:00Z",
        "consumed": consumed,
        "spent": {"bounds": BOUNDS, "counts": counts, "total": 1.0},
    }


def figures(page: Page, expression: str, looks: list[dict[str, Any]]) -> Any:
    return page.module(
        f"""{{
          const f = await m("figures");
          const samples = given[0].reduce((kept, each) => f.kept(kept, each), []);
          return {expression};
        }}""",
        looks,
    )


def each(page: Page, module: str, function: str, calls: Sequence[Sequence[Any]]) -> Any:
    """What a function of a module gives, call for call."""
    name = f"(await m('{module}')).{function}"
    calling = f"given.map(async (call) => {name}(...call))"
    return page.module(f"await Promise.all({calling})", *calls)


def test_a_rate_is_what_was_added_by_the_time_it_took(modules: Page) -> None:
    looks = [look(0, 100, []), look(2, 120, []), look(4, 120, [])]
    values = "f.rates(samples, ['consumed']).map(({values}) => values[0])"
    assert figures(modules, values, looks) == [10, 5]


def test_a_rate_looks_back_a_few_seconds_only(modules: Page) -> None:
    looks = [look(at, 100 if at < 20 else 100 + 10 * (at - 20), []) for at in range(31)]
    values = "f.rates(samples, ['consumed']).map(({values}) => values[0])"
    found = figures(modules, values, looks)
    assert found[0] == 0
    assert found[-1] == 10


def test_a_plane_that_was_started_anew_begins_anew(modules: Page) -> None:
    looks = [look(0, 100, []), look(1, 110, []), look(2, 3, [], start="59")]
    assert figures(modules, "f.rates(samples, ['consumed'])", looks) == []


def test_what_is_older_than_the_window_is_forgotten(modules: Page) -> None:
    old = {**look(0, 1, []), "at": "2026-01-01T09:50:00Z"}
    assert figures(modules, "samples.length", [old, look(0, 2, []), look(1, 3, [])]) == 2


QUANTILES = [
    ([0, 0, 0, 0], 0.5, None),
    ([10, 0, 0, 0], 0.5, 0.005),
    ([5, 5, 0, 0], 0.5, 0.01),
    ([0, 10, 0, 0], 1.0, 0.1),
    ([0, 90, 10, 0], 0.99, 0.91),
    ([0, 0, 0, 3], 0.5, 1.0),
]


def test_a_quantile_lies_in_its_bucket(modules: Page) -> None:
    asked = [(BOUNDS, counts, q) for counts, q, _ in QUANTILES]
    found = each(modules, "figures", "quantile", asked)
    assert found == [value if value is None else pytest.approx(value) for _, _, value in QUANTILES]


def test_quantiles_are_those_of_what_was_added(modules: Page) -> None:
    looks = [look(0, 0, [100, 0, 0, 0]), look(1, 0, [100, 0, 10, 0])]
    values = "f.quantiles(samples, 'spent', [0.5])[0].values[0]"
    assert figures(modules, values, looks) == pytest.approx(0.55)


DURATIONS = {
    0: "0 s",
    59.9: "59 s",
    60: "1 min",
    125: "2 min 5 s",
    3659: "1 h",
    3 * 86_400 + 4 * 3600: "3 d 4 h",
    -5: "0 s",
}
SPANS = {0.0000034: "3.4 µs", 0.0034: "3.4 ms", 0.25: "250 ms", 1.25: "1.3 s", 90: "1 min 30 s"}


def test_durations_are_said_in_words(modules: Page) -> None:
    assert each(modules, "time", "duration", [[s] for s in DURATIONS]) == [*DURATIONS.values()]
    assert each(modules, "time", "span", [[s] for s in SPANS]) == [*SPANS.values()]


def test_the_life_of_an_input_is_its_stretches_and_its_end(modules: Page) -> None:
    def step(second: int, before: str, after: str) -> dict[str, str]:
        return {"at": f"2026-01-01T10:00:{second:02}Z", "from": before, "to": after}

    life = modules.module(
        "(await m('timeline')).stretches(given[0])",
        {
            "created_at": "2026-01-01T10:00:00Z",
            "history": [
                step(0, "accepted", "queued"),
                step(3, "queued", "staged"),
                step(5, "staged", "queued"),
                step(6, "queued", "staged"),
                step(8, "staged", "applied"),
                step(9, "applied", "applied_pending_consumption"),
                step(9, "applied_pending_consumption", "consumed"),
            ],
        },
    )
    spans = [(each["kind"], (each["to"] - each["from"]) / 1000) for each in life["stretches"]]
    assert spans == [("accepted", 0), ("queued", 3), ("run", 2), ("queued", 1), ("run", 3)]
    assert life["end"]["phase"] == "consumed"
