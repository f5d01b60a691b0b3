"""The list of runtimes: found, ordered, filtered, read on, and refreshed where it stands."""

from __future__ import annotations

from browser_support import Agent, Page, ServePlane
from selenium.webdriver.common.keys import Keys

from meerkat import PromptInput


def test_they_are_filtered_by_their_state(page: Page, serve_plane: ServePlane) -> None:
    plane, served = serve_plane()
    plane.register_many(["support-1", "support-2", "support-3"])
    plane.stop_runtime("support-2")
    page.open(served, "#/runtimes")
    page.until(lambda: page.rows() == ["support-1", "support-2", "support-3"])
    page.click(".choices button", "stopped")
    page.until(lambda: page.rows() == ["support-2"])
    assert page.see(".choices [aria-pressed=true]").text == "stopped"
    assert "state=stopped" in page.hash
    page.click(".choices button", "stopped")
    page.until(lambda: len(page.rows()) == 3)


def test_a_heading_orders_them_and_says_so(page: Page, serve_plane: ServePlane) -> None:
    plane, served = serve_plane()
    plane.register_many(["a", "b"])
    for text in ("one", "two"):
        plane.ingest("b", PromptInput(text))
    page.open(served, "#/runtimes")
    page.until(lambda: page.rows() == ["a", "b"])
    assert page.see("th[aria-sort=ascending]").text.startswith("Runtime")
    page.click("th button", "Pending")
    page.until(lambda: page.rows() == ["b", "a"])
    assert page.see("th[aria-sort=descending]").text.startswith("Pending")
    assert page.focused().startswith("Pending")


def test_pages_are_read_one_after_the_other(page: Page, serve_plane: ServePlane) -> None:
    plane, served = serve_plane()
    names = [f"support-{number:05}" for number in range(10_000)]
    plane.register_many(names)
    page.open(served, "#/runtimes")
    page.until(lambda: page.rows() == names[:50])
    page.click(".pager button", "Next")
    page.until(lambda: page.rows() == names[50:100])
    page.click(".pager button", "Next")
    page.until(lambda: page.rows() == names[100:150])
    page.click(".pager button", "Previous")
    page.until(lambda: page.rows() == names[50:100])
    page.driver.back()
    page.until(lambda: page.rows() == names[100:150])


def test_one_is_opened_by_its_id_its_row_or_its_link(page: Page, serve_plane: ServePlane) -> None:
    plane, served = serve_plane()
    plane.register_many(["support-1", "mob/planner:2@x"])
    page.open(served, "#/runtimes")
    page.see("#find").send_keys("mob/planner:2@x", Keys.ENTER)
    page.reads("h1", "mob/planner:2@x")
    page.driver.back()
    page.click("tbody tr td .badge")
    page.reads("h1", "mob/planner:2@x")
    page.driver.back()
    page.click("tbody a", "support-1")
    page.reads("h1", "support-1")
    assert page.focused() == "support-1"


def test_what_is_there_stays_in_its_place_while_somebody_is_at_it(
    page: Page, serve_plane: ServePlane
) -> None:
    plane, served = serve_plane()
    plane.register_many(["a", "b"])
    plane.ingest("a", PromptInput("one"))
    page.open(served, "#/runtimes?sort=pending")
    page.until(lambda: page.rows() == ["a", "b"])
    page.script("document.querySelector('tbody tr:last-child a').focus()")
    kept = page.all("tbody tr")
    for text in ("one", "two"):
        plane.ingest("b", PromptInput(text))
    page.until(lambda: page.texts("tbody tr:last-child .number")[0] == "2")
    assert page.rows() == ["a", "b"]
    assert page.focused() == "b"
    assert page.all("tbody tr") == kept
    page.script("document.activeElement.blur()")
    page.until(lambda: page.rows() == ["b", "a"])


def test_a_run_in_hand_is_shown_with_its_age(page: Page, serve_plane: ServePlane) -> None:
    agent = Agent(held=True)
    plane, served = serve_plane(agent)
    plane.register("support-1")
    plane.ingest("support-1", PromptInput("hello"))
    agent.called.get(timeout=30)
    page.open(served, "#/runtimes")
    page.until(lambda: page.see("[data-label='Run in hand'] time"))
    before = page.text("[data-label='Run in hand'] time")
    page.until(lambda: page.text("[data-label='Run in hand'] time") != before)
    title = page.see("[data-label='Run in hand'] time").get_attribute("title")
    assert title.endswith(" UTC)")


def test_markup_in_a_name_is_a_text(page: Page, serve_plane: ServePlane) -> None:
    _, served = serve_plane()
    page.open(served)
    hostile = '<img src=x onerror="window.hacked=1">'
    page.expected.append("404")
    page.expected.append("400")
    page.script("location.hash = '#/runtime/' + encodeURIComponent(arguments[0])", hostile)
    page.until(lambda: page.text("h1") == hostile)
    page.see("main [role=alert]")
    assert page.all("main img") == []
    assert page.script("return window.hacked") is None
