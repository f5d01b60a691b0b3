"""The page by the keyboard alone: everything is reached, and it is seen where one is."""

from __future__ import annotations

from browser_support import Agent, Page, ServePlane
from selenium.webdriver.common.keys import Keys

from meerkat import PromptInput, RuntimeState


def test_from_the_skip_link_to_a_destroyed_runtime(page: Page, serve_plane: ServePlane) -> None:
    plane, served = serve_plane(allow_actions=True)
    plane.register("support-1")
    plane.ingest("support-1", PromptInput("one"))
    page.open(served)
    page.until(lambda: page.texts("main tbody a") == ["support-1"])
    page.press(Keys.TAB)
    assert page.focused() == "Skip to the content"
    page.press(Keys.ENTER)
    assert page.script("return document.activeElement.id") == "main"
    page.tab_to("support-1")
    page.press(Keys.ENTER)
    page.reads("h1", "support-1")
    page.see("[data-verb=destroy]")
    page.tab_to("Destroy")
    page.press(Keys.ENTER)
    page.see("dialog")
    page.tab_to("Destroy", most=4)
    page.press(Keys.ENTER)
    page.reads(".title .badge", "destroyed")
    assert plane.runtime_state("support-1") is RuntimeState.DESTROYED


def test_the_history_of_an_input_is_reached(page: Page, serve_plane: ServePlane) -> None:
    plane, served = serve_plane()
    plane.register("support-1")
    plane.ingest("support-1", PromptInput("one"))
    page.open(served, "#/runtime/support-1")
    page.see("#ledger tbody tr")
    page.tab_to("History of input 0")
    page.press(Keys.ENTER)
    page.see("#ledger .steps")
    assert page.focused() == "History of input 0"
    page.tab_to("Show what it says", most=2)
    page.press(Keys.SPACE)
    page.reads("#ledger pre", "one")


def test_shortcuts_go_to_the_views_and_to_the_search(page: Page, serve_plane: ServePlane) -> None:
    _, served = serve_plane()
    page.open(served)
    page.press("g", "r")
    page.reads("h1", "Runtimes")
    page.press("g", "s")
    page.reads("h1", "Supervision")
    page.press("g", "o")
    page.reads("h1", "Overview")
    page.press("/")
    page.until(lambda: page.focused() == "Open a runtime by its id")
    page.press("g", "o", "?")
    assert page.see("#find").get_attribute("value") == "go?"
    assert page.text("h1") == "Runtimes"


def test_the_shortcuts_are_told_of_and_can_be_switched_off(
    page: Page, serve_plane: ServePlane
) -> None:
    _, served = serve_plane()
    page.open(served)
    page.press("?")
    page.reads("dialog", "go to the runtimes")
    page.click("dialog input[type=checkbox]")
    page.press(Keys.ESCAPE)
    page.until(lambda: not page.all("dialog"))
    page.press("?")
    page.driver.refresh()
    page.reads("h1", "Overview")
    page.press("?")
    assert page.all("dialog") == []


def test_one_sees_where_the_focus_is(page: Page, serve_plane: ServePlane) -> None:
    plane, served = serve_plane(Agent(), allow_actions=True)
    plane.register("support-1")
    page.open(served, "#/runtime/support-1")
    page.see("#ledger")
    seen = set()
    page.script("document.activeElement.blur()")
    for _ in range(60):
        page.press(Keys.TAB)
        name = page.focused()
        if name in seen and name == "Skip to the content":
            break
        seen.add(name)
        outline = page.script("return getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid" or not name, name
    assert {"Destroy", "Runtimes", "Keyboard shortcuts", "Ended", "Pause", "Show"} <= seen
