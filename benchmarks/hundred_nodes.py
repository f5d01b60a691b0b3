"""A hundred processes on one database: who has which runtime, and who takes it over how soon.

    python benchmarks/hundred_nodes.py [--ratio N] [--seed N] [--sample N] [--only WORD]

Three tables. How evenly rendezvous hashing divides runtimes over 100 shards, and how many move
with one more; what comes of one fault at a time among 100 processes with 1,000,000 live runtimes
and 10,000 inputs a second (``--ratio 10`` divides both by ten), as a model under a seeded schedule
(``placement``); and which promise breaks when a rule of the protocol is left out. Times are the
model's: leases of 10 s, commits of 2 ms, runs of 5 s.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Final

from placement.scenarios import SCENARIOS, Came, told
from placement.shares import Shares, ids, largest_by_theory, placed
from placement.storms import MUTATIONS, weathered
from placement.watch import Broken
from placement.world import Size

SHARDS: Final = 100
KNOWN: Final = (100_000_000, 1_000_000, 50_000)
"""Runtimes known, live, and with work at a time."""

SEEDS: Final = range(20)
"""Of the worlds in which everything goes wrong, and of those with a rule left out."""


def of_shares(found: Shares) -> Iterator[str]:
    """How evenly, and how many move."""
    yield f"| of {found.sampled:,} drawn ids in {found.shards} shards | |"
    yield "|---|---|"
    yield f"| chi-square, from what chance gives | {found.deviations:+.1f} standard deviations |"
    yield f"| fullest over the mean | {found.largest:.3f}, by theory {_by_theory(found):.3f} |"
    for runtimes in KNOWN:
        largest = largest_by_theory(runtimes, found.shards)
        yield f"| ″ of {runtimes:,}, by theory | {largest:.4f} |"
    moved, theory = 100 * found.moved, 100 * found.moved_by_theory
    yield f"| that move where there is one more | {moved:.2f} %, by theory {theory:.2f} % |"
    yield f"| of those, to another than the new one | {found.moved_elsewhere} |"


def _by_theory(found: Shares) -> float:
    return largest_by_theory(found.sampled, found.shards)


def of_scenarios(size: Size, seed: int, only: str) -> Iterator[str]:
    """What came of each fault."""
    yield (
        "| what happens | runtimes with work left behind | taken over: half of them, 99 %, all, in "
        "leases | commits refused | loads |"
    )
    yield "|---|---|---|---|---|"
    steps, checks, clock_s = 0, 0, 0.0
    for name in SCENARIOS:
        if only in name:
            came = told(name, seed, size)
            yield of_one(name, came)
            steps, checks = steps + came.steps, checks + came.checks
            clock_s += came.clock_s
    yield ""
    yield f"{steps:,} steps, {steps / max(clock_s, 1e-9):,.0f} a second; {checks:,} checks."


def of_one(name: str, came: Came) -> str:
    """A line of it."""
    taken = (
        "nobody took any"
        if not came.adopted
        else ", ".join(f"{came.leases(share):.2f}" for share in (0.5, 0.99, 1.0))
    )
    refused = came.counts["refused: elsewhere"] + came.counts["refused: fence"]
    loads = came.counts["runtimes loaded"]
    return f"| {name} | {came.left:,} | {taken} | {refused:,} | {loads:,} |"


def of_storms() -> Iterator[str]:
    """What breaks, and in how many worlds."""
    yield "| rule that is left out | worlds in which a promise breaks | the first |"
    yield "|---|---|---|"
    for name, rule in (("none", None), *MUTATIONS.items()):
        broken: list[str] = []
        for seed in SEEDS:
            try:
                weathered(seed, without=rule)
            except Broken as error:
                broken.append(str(error))
        yield f"| {name} | {len(broken)} of {len(SEEDS)} | {broken[0] if broken else ''} |"


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ratio", type=int, default=1, help="stands for so many times as much")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sample", type=int, default=200_000)
    parser.add_argument("--only", default="", help="scenarios with this word")
    options = parser.parse_args()
    size = Size(
        runtimes=Size().runtimes // options.ratio,
        inputs_a_second=Size().inputs_a_second / options.ratio,
    )
    for lines in (
        of_shares(placed(ids(options.sample, options.seed), SHARDS)),
        of_scenarios(size, options.seed, options.only),
        of_storms(),
    ):
        for line in lines:
            print(line, flush=True)
        print()


if __name__ == "__main__":
    main()
