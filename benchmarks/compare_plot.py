"""The picture of compare.py: a bar for each peer that is as durable as ours.

Readable at 800 pixels, on a light page: the label and the figure stand on the bar. The
scale is logarithmic, since the peers lie a factor of a hundred apart.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("Agg")

from compare_jobs import JOBS
from compare_report import Figures, number
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from peers.catalogue import ENTRIES, OURS
from slower_syncs import caption

DPI: Final = 100
WIDTH: Final = 8.0  # inches, so 800 pixels
BAR_HEIGHT: Final = 0.27  # inches
HEAD_HEIGHT: Final = 0.55
FOOT: Final = "SQLite, WAL, full sync; items of 500 bytes; the scale is logarithmic"
FLOOR: Final = 50.0  # items a second at the left edge, where the shortest bar is longer
ROOM: Final = 4.0  # times the left edge, for a bar that its label stands on
SHORTEST: Final = 1.05  # a bar that would be shorter is drawn so long
INK: Final = "#1b1f24"
COLOURS: Final = {"ours": "#1f6feb", "peer": "#b6c2cf", "floor": "#dfe4ea", "line": "#eceff2"}


def plot(results: Mapping[str, Any], path: Path) -> None:
    """Write the picture."""
    figures = Figures(results)
    panels = {job: ranked(figures, job) for job, its in JOBS.items() if its.unit == "items/s"}
    panels = {job: bars for job, bars in panels.items() if bars}
    heights = [HEAD_HEIGHT + BAR_HEIGHT * len(bars) for bars in panels.values()]
    picture, axes = plt.subplots(
        len(panels),
        figsize=(WIDTH, sum(heights)),
        dpi=DPI,
        height_ratios=heights,
        squeeze=False,
        facecolor="white",
        layout="constrained",
    )
    if said := caption(results["surroundings"]):
        picture.suptitle(said, x=0.005, ha="left", fontsize=11, color=INK)
    values = [value for bars in panels.values() for _, value in bars]
    bounds = left_of(min(values)), max(values)
    for axis, (job, bars) in zip(axes[:, 0], panels.items(), strict=True):
        draw(axis, JOBS[job].title, bars, bounds)
    foot = axes[-1, 0]
    foot.set_xlabel(FOOT, fontsize=9, color=INK, loc="left")
    foot.tick_params(axis="x", labelbottom=True, labelsize=9, labelcolor=INK)
    picture.savefig(path, facecolor="white")
    plt.close(picture)


def ranked(figures: Figures, job: str) -> list[tuple[str, float]]:
    """(name, median) of the comparable ones, the fastest first."""
    bars = [
        (name, statistics.median(values))
        for name in figures.names(job)
        if not ENTRIES[name].weaker and (values := figures.values(job, name))
    ]
    return sorted(bars, key=lambda bar: -bar[1])


def left_of(least: float) -> float:
    """Where the scale begins: bars are compared from picture to picture where they can be."""
    return FLOOR if least > FLOOR * ROOM else 10.0 ** math.floor(math.log10(least / ROOM))


def draw(
    axis: Axes, title: str, bars: list[tuple[str, float]], bounds: tuple[float, float]
) -> None:
    """One panel: bars from the top down, labels on them."""
    left, most = bounds
    axis.set_title(f"{title}: items/s", loc="left", fontsize=11, color=INK, fontweight="bold")
    axis.set_xscale("log")
    axis.set_xlim(left, most * 1.15)
    axis.set_ylim(len(bars) - 0.45, -0.55)
    axis.set_yticks([])
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axis.tick_params(axis="x", which="both", length=0, labelbottom=False)
    axis.grid(visible=True, axis="x", which="major", color=COLOURS["line"], linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[:].set_visible(False)
    for place, (name, value) in enumerate(bars):
        kind = "ours" if name == OURS else "floor" if name.startswith("raw") else "peer"
        length = max(value, left * SHORTEST) - left
        axis.barh(place, length, left=left, height=0.84, color=COLOURS[kind])
        axis.text(
            left * 1.06,
            place + 0.02,
            f"{ENTRIES[name].plotted or ENTRIES[name].label}   {number(value)}",
            va="center",
            fontsize=10,
            color="white" if kind == "ours" else INK,
            fontweight="bold" if kind == "ours" else "normal",
        )
