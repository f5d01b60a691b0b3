"""What is done by hand: only where it is allowed, and only after it was said what it gives up."""

from __future__ import annotations

import pytest
from browser_support import WAIT_S, Agent, Page, ServePlane
from selenium.webdriver.common.keys import Keys

from actors.verbs import VERBS
from meerkat import PromptInput, RuntimeState

ALWAYS = set(VERBS) - {"resume", "redrive"}
"""What can be done to a runtime that is neither paused nor has given anything up."""


def buttons(page: Page) -> set[str]:
    return {each.get_attribute("data-verb") or "" for each in page.all("[data-verb]")}


def test_a_page_for_reading_offers_nothing_to_do(page: Page, serve_plane: ServePlane) -> None:
    plane, served = serve_plane()
    plane.register("support-1")
    page.open(served, "#/runtime/support-1")
    page.see("#ledger")
    assert buttons(page) == set()


def test_all_that_can_be_done_by_hand_is_offered(page: Page, serve_plane: ServePlane) -> None:
    plane, served = serve_plane(allow_actions=True)
    plane.register("support-1")
    page.open(served, "#/runtime/support-1")
    page.see("[data-verb=pause]")
    assert buttons(page) == ALWAYS
    assert page.text("#lamp-text") == "live"


def test_pausing_and_resuming_take_each_others_place(page: Page, serve_plane: ServePlane) -> None:
    plane, served = serve_plane(allow_actions=True)
    plane.register("support-1")
    page.open(served, "#/runtime/support-1")
    page.click("[data-verb=pause]")
    page.reads("dialog", "Nothing that waits is given up.")
    page.click("dialog [data-yes]")
    page.see("[data-verb=resume]")
    assert "pause" not in buttons(page)
    page.reads("main", "Paused")
    page.reads("#said", "Pause: done")
    page.click("[data-verb=resume]")
    page.click("dialog [data-yes]")
    page.see("[data-verb=pause]")


@pytest.mark.parametrize("verb", [name for name, verb in VERBS.items() if verb.asks])
def test_what_would_be_given_up_is_said_and_leaving_it_does_nothing(
    page: Page, serve_plane: ServePlane, verb: str
) -> None:
    plane, served = serve_plane(allow_actions=True)
    plane.register("support-1")
    for text in ("one", "two"):
        plane.ingest("support-1", PromptInput(text))
    page.open(served, "#/runtime/support-1")
    page.reads(".facts", "Pending inputs 2")
    if verb not in buttons(page):
        pytest.skip("not for a runtime that is like this one")
    asked = str(VERBS[verb].asks).format(pending=2)
    page.click(f"[data-verb={verb}]")
    page.reads("dialog", asked[0].upper() + asked[1:])
    assert page.focused() == "Leave it as it is"
    page.press(Keys.ENTER)
    page.until(lambda: not page.all("dialog"))
    assert page.focused() == verb.capitalize()
    page.click(f"[data-verb={verb}]")
    page.see("dialog")
    page.press(Keys.ESCAPE)
    page.until(lambda: not page.all("dialog"))
    assert plane.runtime_state("support-1") is RuntimeState.IDLE
    assert len(plane.active_input_ids("support-1")) == 2


def test_destroying_is_done_once_it_is_confirmed(page: Page, serve_plane: ServePlane) -> None:
    plane, served = serve_plane(allow_actions=True)
    plane.register("support-1")
    plane.ingest("support-1", PromptInput("one"))
    page.open(served, "#/runtime/support-1")
    page.reads(".facts", "Pending inputs 1")
    page.click("[data-verb=destroy]")
    page.click("dialog [data-yes]")
    page.reads(".title .badge", "destroyed")
    assert plane.runtime_state("support-1") is RuntimeState.DESTROYED
    page.reads("#said", "it is destroyed now; inputs abandoned: 1")
    page.until(lambda: not page.all("dialog"))


def test_what_was_given_up_is_brought_back(page: Page, serve_plane: ServePlane) -> None:
    plane, served = serve_plane(Agent(), allow_actions=True)
    plane.register("support-1")
    outcome = plane.ingest("support-1", PromptInput("fail:no such ticket"))
    plane.completion("support-1", outcome).result(WAIT_S)
    page.open(served, "#/runtime/support-1")
    page.click("[data-verb=redrive]")
    page.click("dialog [data-yes]")
    page.reads("#said", "redriven: 1")


def test_what_is_refused_is_said_in_the_dialog(page: Page, serve_plane: ServePlane) -> None:
    agent = Agent(held=True)
    plane, served = serve_plane(agent, allow_actions=True)
    plane.register("support-1")
    plane.ingest("support-1", PromptInput("one"))
    agent.called.get(timeout=WAIT_S)
    page.expected.append("409")
    page.open(served, "#/runtime/support-1")
    page.click("[data-verb=reset]")
    page.click("dialog [data-yes]")
    page.reads("dialog [role=alert]", "Invalid state for operation: running")
    assert page.see("dialog [data-yes]").is_enabled()
    page.press(Keys.ESCAPE)
