"""How the page looks: legible in both themes, on a small screen, and as the docs show it."""

from __future__ import annotations

import math
import os
import re
from itertools import cycle, islice
from pathlib import Path
from threading import Event

import pytest
from browser_support import WAIT_S, Agent, Page, ServePlane

from meerkat import PromptInput, RunContext, RunOutput, StagedInput

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "actors/dashboard/static"
IMAGES = ROOT / "docs/images"
WRITE = os.environ.get("MEERKAT_WRITE_IMAGES") == "yes"
"""Whether docs/images is to be written."""

BLANK_BYTES_MAX = 20_000
"""A picture of this size in which there is little has less."""

VIEWS = ("#/", "#/runtimes", "#/runtime/support-1", "#/supervision")

TEXT, SHAPE = 4.5, 3.0
"""The least contrast of text, and of shapes and edges that say something (WCAG 2.2, AA)."""

GROUNDS = ("ground", "panel", "raised")
SAYS: dict[str, tuple[str, ...]] = {
    "ink": (*GROUNDS, "accent-wash", "second-wash", "waiting-wash", "trouble-wash", "ended-wash"),
    "quiet": (*GROUNDS, "second-wash", "waiting-wash", "trouble-wash"),
    "accent": (*GROUNDS, "accent-wash"),
    "second": (*GROUNDS, "second-wash"),
    "waiting": (*GROUNDS, "waiting-wash"),
    "trouble": (*GROUNDS, "trouble-wash"),
    "on-accent": ("accent",),
    "on-trouble": ("trouble",),
}
SHAPES: dict[str, tuple[str, ...]] = {"edge": ("ground", "panel"), "ended": ("panel",)}


def colours() -> dict[str, tuple[str, str]]:
    """The light and the dark colour of each name."""
    text = (STATIC / "tokens.css").read_text()
    found = re.findall(r"--([a-z-]+): light-dark\((#[0-9a-f]+), (#[0-9a-f]+)\)", text)
    return {name: (light, dark) for name, light, dark in found}


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_what_is_said_can_be_read_on_what_it_stands_on(theme: int) -> None:
    known = colours()
    too_low = [
        f"{name} on {ground}: {contrast(known[name][theme], known[ground][theme]):.2f}"
        for pairs, least in ((SAYS, TEXT), (SHAPES, SHAPE))
        for name, grounds in pairs.items()
        for ground in grounds
        if contrast(known[name][theme], known[ground][theme]) < least
    ]
    assert too_low == []


def test_no_colour_stands_outside_the_tokens() -> None:
    sheets = [file for file in STATIC.glob("*.css") if file.name != "tokens.css"]
    found = [
        line for file in sheets for line in re.findall(r".*#[0-9a-f]{3,8}\b.*", file.read_text())
    ]
    assert found == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_as_light_as_the_system_until_it_is_switched(
    page: Page, serve_plane: ServePlane, scheme: str
) -> None:
    _, served = serve_plane()
    page.emulate(prefers_color_scheme=scheme)
    page.open(served)
    other = {"light": "dark", "dark": "light"}[scheme]
    assert is_dark(page) == (scheme == "dark")
    page.click("#theme")
    assert page.see("#theme").get_attribute("aria-label") == "Colours: light"
    assert not is_dark(page)
    page.click("#theme")
    assert is_dark(page)
    page.driver.refresh()
    page.reads("h1", "Overview")
    assert is_dark(page)
    page.click("#theme")
    page.emulate(prefers_color_scheme=other)
    assert is_dark(page) == (other == "dark")


def is_dark(page: Page) -> bool:
    ground = page.script("return getComputedStyle(document.body).backgroundColor")
    return sum(map(int, re.findall(r"\d+", ground)[:3])) < 3 * 128


@pytest.mark.parametrize("view", VIEWS)
def test_nothing_is_wider_than_a_small_screen(
    page: Page, serve_plane: ServePlane, view: str
) -> None:
    plane, served = serve_plane(Agent(), allow_actions=True)
    plane.register_many(["support-1", "rt:session:" + "0123456789abcdef" * 12])
    plane.completion("support-1", plane.ingest("support-1", PromptInput("fail:" + "no" * 200)))
    plane.completion("support-1", plane.ingest("support-1", PromptInput("yes"))).result(WAIT_S)
    page.resize(360, 740)
    page.open(served, view)
    page.see("main .card")
    if "/runtime/" in view:
        page.see("#ledger tbody tr")
        page.see("#events li")
    root = "document.documentElement"
    assert page.script(f"return {root}.scrollWidth - {root}.clientWidth") == 0
    assert page.script("return innerWidth") == 360


def test_nothing_moves_for_those_who_want_it_still(page: Page, serve_plane: ServePlane) -> None:
    _, served = serve_plane()
    page.open(served)
    moves = "return getComputedStyle(document.getElementById('help')).transitionDuration"
    assert page.script(moves) != "0s"
    page.emulate(prefers_reduced_motion="reduce")
    assert page.script(moves) == "0s"


SAID = {"My bag is lost": 0.15, "Where is it now": 0.3, "Can it be sent on": 2.0}
"""What the sessions of the picture are told, and the seconds an answer takes."""


def test_the_pictures_of_the_docs(page: Page, serve_plane: ServePlane, tmp_path: Path) -> None:
    """Two minutes of work where they are written; a few looks at it where they are tried."""

    def answer(_context: RunContext, primitive: StagedInput) -> RunOutput:
        Event().wait(SAID[primitive.text] if WRITE else 0)
        return RunOutput(append=[])

    plane, served = serve_plane(answer)
    names = [f"support-{number}" for number in range(40, 64)]
    plane.register_many(names)
    page.resize(1280, 1060)
    page.driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
    page.emulate(prefers_color_scheme="light")
    page.open(served)
    looks = 120 if WRITE else 3
    work = zip(cycle(names), cycle([*SAID, *[*SAID][:2] * 2]), strict=False)
    while (seen := page.module("(await m('live')).live.samples.length")) < looks:
        wanted = 40 + 30 * math.sin(seen / 9)
        for name, text in islice(work, max(0, int(wanted) - plane.figures().pending_inputs)):
            plane.submit(name, PromptInput(text))
    folder = IMAGES if WRITE else tmp_path
    folder.mkdir(exist_ok=True)
    for scheme in ("light", "dark"):
        page.emulate(prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
        file = folder / f"page-{scheme}.png"
        assert page.driver.save_screenshot(str(file))
        assert len(file.read_bytes()) > BLANK_BYTES_MAX
    assert is_dark(page)
