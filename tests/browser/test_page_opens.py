"""The page is opened, and is what a page should be to those who do not see it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from browser_support import Agent, Page, ServePlane

from meerkat import PromptInput

VIEWS = ("#/", "#/runtimes", "#/runtime/support-1", "#/supervision")


def test_its_address_with_the_token_opens_it_and_leaves_no_token_behind(
    page: Page, serve_plane: ServePlane
) -> None:
    _, served = serve_plane()
    page.open(served)
    assert page.text("h1") == "Overview"
    assert served.token not in page.driver.current_url
    assert page.text("#lamp-text") == "live, read-only"
    page.reads("#store", "sessions.db")
    assert served.token not in page.driver.page_source


def test_without_the_token_there_is_no_page(page: Page, serve_plane: ServePlane) -> None:
    _, served = serve_plane()
    page.roots.append(served.url)
    page.expected.append("401")
    page.driver.get(served.url)
    assert "unauthorized" in page.text("body")
    assert page.all("main") == []


def test_figures_arrive_live_and_are_drawn(page: Page, serve_plane: ServePlane) -> None:
    plane, served = serve_plane(Agent())
    plane.register("support-1")
    page.open(served)
    page.reads(".tiles", "of 64")
    page.until(lambda: page.script("return document.querySelectorAll('.line[d]').length >= 2"))
    for number in range(3):
        plane.ingest("support-1", PromptInput(f"hello {number}"))
    page.reads(".facts", "Consumed 3")
    name = page.script("return document.querySelector('svg[role=img]').ariaLabel")
    assert name.startswith("Throughput, now: consumed ")
    page.until(lambda: "ms" in page.texts(".chart .legend")[1])


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_has_its_names_headings_and_landmarks(
    page: Page, serve_plane: ServePlane, view: str
) -> None:
    plane, served = serve_plane(Agent(), allow_actions=True)
    plane.register("support-1")
    plane.completion("support-1", plane.ingest("support-1", PromptInput("hello"))).result(30)
    page.open(served, view)
    page.see("main .card")
    if "runtime/" in view:
        page.see("#ledger tbody tr")
        page.see("#receipts tbody tr")
    assert page.script(_LANDMARKS) == [1, 1, 1, 1]
    assert page.script(_NAMELESS) == []
    assert page.script("return document.documentElement.lang") == "en"
    levels = page.script(_LEVELS)
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    ids = page.script("return [...document.querySelectorAll('[id]')].map(each => each.id)")
    assert len(ids) == len(set(ids))
    assert page.script(_TABLES) == []
    assert page.script(_INLINE) == []


_LANDMARKS = """
return ["header", "nav[aria-label]", "main", "footer"]
  .map((name) => document.querySelectorAll(`body > ${name}, header > ${name}`).length)"""

_LEVELS = "return [...document.querySelectorAll('h1,h2,h3')].map((each) => +each.tagName[1])"

_NAMELESS = """
const named = "a, button, input, select, meter, [role=img], [role=region], dialog";
return [...document.querySelectorAll(named)]
  .filter((it) => !(it.getAttribute("aria-label") || it.innerText?.trim() || it.textContent.trim()
    || it.getAttribute("aria-labelledby")))
  .filter((it) => it.checkVisibility())
  .map((it) => it.outerHTML)"""

_TABLES = """
return [...document.querySelectorAll("table")]
  .filter((table) => !table.caption?.textContent || table.querySelector("thead th:not([scope])"))
  .map((table) => table.outerHTML)"""

_INLINE = """
return [...document.querySelectorAll("script:not([src]), style, [style], [onclick], [onerror]")]
  .map((it) => it.outerHTML)"""
