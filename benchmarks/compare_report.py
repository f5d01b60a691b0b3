"""The tables of compare.py, as text or as Markdown. Figures in, text out."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from compare_jobs import JOBS
from peers.catalogue import ENTRIES, OURS, OURS_ON_SERVER
from slower_syncs import caption

Table = list[tuple[str, ...]]
TIMES: Final = " ×"  # noqa: RUF001 - the sign for it
COSTS: Final = ("commits", "log_bytes", "cpu_s", "server_cpu_s")
SHORT: Final = 20  # letters of an error that fit into a table


class Figures:
    """The figures of a run, by job and peer."""

    def __init__(self, results: Mapping[str, Any]) -> None:
        self.ours: str = results.get("ours", OURS)
        self._costs: dict[tuple[str, str], list[tuple[float, ...]]] = {}
        self._values: dict[tuple[str, str], dict[int, float]] = {}
        self._beside: dict[tuple[str, str], dict[int, float]] = {}
        self._errors: dict[tuple[str, str], str] = {}
        for figure in results["figures"]:
            key = figure["job"], figure["name"]
            if "error" in figure:
                self._errors[key] = figure["error"]
            else:
                self._values.setdefault(key, {})[figure["round"]] = figure["value"]
                if "commits" in figure:
                    cost = tuple(figure[each] for each in COSTS)
                    self._costs.setdefault(key, []).append(cost)
                if "beside" in figure:
                    self._beside.setdefault(key, {})[figure["round"]] = figure["beside"]

    def names(self, job: str) -> list[str]:
        """Whoever was to be measured at this job, in the order of the catalogue."""
        return [n for n in ENTRIES if (job, n) in self._values or (job, n) in self._errors]

    def values(self, job: str, name: str) -> list[float]:
        """Of every round that has one; none when one of them failed."""
        if (job, name) in self._errors:
            return []
        return list(self._values.get((job, name), {}).values())

    def error(self, job: str, name: str) -> str:
        """Why there is no figure, in a word or two."""
        error = self._errors.get((job, name), "not measured")
        return error if len(error) <= SHORT else "failed, see below"

    def failures(self) -> list[str]:
        """What went wrong, where it takes more than a word or two."""
        found = [
            f"{plain(ENTRIES[name].label)}, {JOBS[job].title}: {error}"
            for (job, name), error in self._errors.items()
            if len(error) > SHORT
        ]
        return ["\n".join(found)] if found else []

    def beside(self, job: str) -> list[float]:
        """Of what was measured beside ours."""
        return list(self._beside.get((job, self.ours), {}).values())

    def costs(self, job: str, name: str) -> tuple[float, ...] | None:
        """``COSTS`` an item, typically; None for who has no server."""
        found = self._costs.get((job, name))
        return tuple(map(statistics.median, zip(*found, strict=True))) if found else None

    def ratios(self, job: str, above: str, below: str) -> list[float]:
        """One over the other, round by round; over what was beside it, if that is asked."""
        by_its_side = below == JOBS[job].beside
        if not self.values(job, above) or not (by_its_side or self.values(job, below)):
            return []
        over = self._values[job, above]
        under = self._beside[job, above] if by_its_side else self._values[job, below]
        return [over[number] / under[number] for number in over if number in under]


@dataclass(frozen=True)
class Goal:
    """One ratio that is to be reached."""

    title: str
    job: str
    above: str
    below: str
    reach: float
    aim: float

    def verdict(self, ratio: float) -> str:
        """Where the ratio stands; for a latency less is better."""
        less = self.reach > self.aim
        if (ratio <= self.aim) if less else (ratio >= self.aim):
            return "aim reached"
        if (ratio <= self.reach) if less else (ratio >= self.reach):
            return "reached"
        return f"{'over' if less else 'short'} by {abs(1 - ratio / self.reach):.0%}"


GOALS: Final = (
    Goal("pipelined over 100 sessions, to litequeue", "pipelined", OURS, "litequeue", 6, 15),
    Goal("″ to raw SQLite, 500 items a commit", "pipelined", OURS, "raw-500", 0.15, 0.4),
    Goal("8 synchronous callers, to litequeue", "callers", OURS, "litequeue", 2.5, 4),
    Goal("one synchronous caller, to litequeue", "one", OURS, "litequeue", 1.2, 1.8),
    Goal("idle durable ingest, to one raw commit", "ingest", OURS, "raw-commit", 2.5, 1.5),
    *(
        Goal(f"{what}, to DBOS {label}", job, OURS_ON_SERVER, peer, 5, 10)
        for peer, label in (
            ("dbos-queue-step", "with its queue, the work in a step"),
            ("dbos-queue", "with its queue"),
            ("dbos-direct", "without a queue"),
        )
        for job, what in (
            ("pipelined", "pipelined over 100 sessions"),
            ("callers", "8 synchronous callers"),
            ("one", "one synchronous caller"),
        )
    ),
)


def report(results: Mapping[str, Any], *, markdown: bool = False) -> str:
    """Every table of a run."""
    figures = Figures(results)
    shape = as_markdown if markdown else as_text
    slower = caption(results["surroundings"])
    parts: list[str] = []

    def add(title: str, table: Table) -> None:
        parts.append(shape(f"{title}, {slower}" if slower else title, table))

    for job in JOBS:
        names = [name for name in figures.names(job) if not ENTRIES[name].weaker]
        if names:
            add(JOBS[job].title, job_table(figures, job, names))
    if goals := goal_table(figures):
        add("What is to be reached", goals)
    if costs := cost_table(figures):
        add("What an item costs", costs)
    if weaker := weaker_table(figures):
        add("Weaker durability, not comparable", weaker)
    parts += figures.failures()
    parts.append(about(results["surroundings"], rounds_of(results)))
    return "\n\n".join(parts)


def job_table(figures: Figures, job: str, names: Sequence[str]) -> Table:
    """Everybody's figure, and the ratio to it."""
    beside, ours = JOBS[job].beside, figures.ours
    head = "to the raw one" if beside else "ours to it"
    table: Table = [("", JOBS[job].unit, "range", head, "range")]
    for name in names:
        values = figures.values(job, name)
        if not values:
            table.append((ENTRIES[name].label, figures.error(job, name), "", "", ""))
            continue
        ratios = figures.ratios(job, name, beside) if beside else figures.ratios(job, ours, name)
        table.append((ENTRIES[name].label, *spread(values), *spread(ratios, TIMES)))
    if beside and figures.beside(job):
        table.append((ENTRIES[beside].label, *spread(figures.beside(job)), "", ""))
    return table


def goal_table(figures: Figures) -> Table:
    """The ratios that are to be reached, where both sides were measured."""
    table: Table = [("ratio", "figure", "range", "reach", "aim", "")]
    for goal in GOALS:
        if ratios := figures.ratios(goal.job, goal.above, goal.below):
            verdict = goal.verdict(statistics.median(ratios))
            bounds = f"{goal.reach:g}{TIMES}", f"{goal.aim:g}{TIMES}"
            table.append((goal.title, *spread(ratios, TIMES), *bounds, verdict))
    return table if len(table) > 1 else []


def cost_table(figures: Figures) -> Table:
    """What an item is for the server, and of processor time, for those who have a server."""
    head = ("writing transactions", "KB of log", "µs of CPU", "µs of the server's", "to ours")
    table: Table = [("", "job", *head)]
    for job in JOBS:
        ours = figures.costs(job, figures.ours)
        for name in figures.names(job):
            if (costs := figures.costs(job, name)) is None:
                continue
            commits, log_bytes, cpu_s, server_cpu_s = costs
            cells = [number(commits), number(log_bytes / 1000)]
            cells += [number(each * 1_000_000) for each in (cpu_s, server_cpu_s)]
            ratio = number((cpu_s + server_cpu_s) / sum(ours[-2:])) + TIMES if ours else ""
            table.append((ENTRIES[name].label, JOBS[job].title, *cells, ratio))
    return table if len(table) > 1 else []


def weaker_table(figures: Figures) -> Table:
    """What is faster because it may lose something: figures and no ratio."""
    table: Table = [("", "job", "items/s", "range", "may lose")]
    for job in JOBS:
        for name in figures.names(job):
            if ENTRIES[name].weaker:
                values = figures.values(job, name)
                shown = spread(values) if values else (figures.error(job, name), "")
                table.append((ENTRIES[name].label, JOBS[job].title, *shown, ENTRIES[name].weaker))
    return table if len(table) > 1 else []


def rounds_of(results: Mapping[str, Any]) -> int:
    """How many rounds there were."""
    return 1 + max((figure["round"] for figure in results["figures"]), default=-1)


def about(surroundings: Mapping[str, Any], rounds: int) -> str:
    """What the figures were taken with."""
    versions = ", ".join(f"{name} {found}" for name, found in surroundings["versions"].items())
    server = surroundings.get("server", {})
    if server:
        on = ", ".join(f"{name} {found}" for name, found in server.items() if found == "on")
        versions += f"; PostgreSQL {server['server_version']}, {on}"
    if slower := caption(surroundings):
        took = [number(surroundings[key]) for key in ("raw_commit_slower_ms", "raw_commit_ms")]
        slower = f"{slower.capitalize()}: a raw commit took {took[0]} ms, and {took[1]} without. "
    return slower + (
        f"Median and range of {rounds} round{'s' if rounds > 1 else ''}. "
        f"{surroundings['cores']} cores, {surroundings['system']}, "
        f"{surroundings['file_system']}, "
        f"Python {surroundings['python']}, SQLite {surroundings['sqlite']}; {versions}."
    )


def spread(values: Sequence[float], unit: str = "") -> tuple[str, str]:
    """The median, and from where to where."""
    if not values:
        return "", ""
    median = number(statistics.median(values)) + unit
    if len(values) == 1:
        return median, ""
    return median, f"{number(min(values))} to {number(max(values))}"


def number(value: float) -> str:
    """Three figures that mean something."""
    hundred, one = 100, 1
    return f"{value:,.0f}" if value >= hundred else f"{value:.{2 if value >= one else 3}f}"


def as_text(title: str, table: Table) -> str:
    """Columns, the first to the left."""
    rows = [tuple(map(plain, row)) for row in table]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [title, ""]
    for first, *rest in rows:
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def plain(text: str) -> str:
    """Without the marks of Markdown."""
    return text.replace("*", "").replace("`", "")


def as_markdown(title: str, table: Table) -> str:
    """A table for the README."""
    head, *rows = ["| " + " | ".join(row) + " |" for row in table]
    rule = "|" + "---|" * len(table[0])
    return "\n".join([f"**{title}**", "", head, rule, *rows])
