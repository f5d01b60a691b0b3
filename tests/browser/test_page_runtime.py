"""One runtime: its ledger over time, its events live, and what it says only when it is asked."""

from __future__ import annotations

from browser_support import WAIT_S, Agent, Page, ServePlane

from actors import ControlPlane
from meerkat import PromptInput

SAID = "the-canary-of-the-payload"


def work(plane: ControlPlane, text: str) -> None:
    plane.completion("support-1", plane.ingest("support-1", PromptInput(text))).result(WAIT_S)


def test_its_run_in_hand_is_shown_until_it_ends(page: Page, serve_plane: ServePlane) -> None:
    agent = Agent(held=True)
    plane, served = serve_plane(agent)
    plane.register("support-1")
    plane.ingest("support-1", PromptInput("hello"))
    agent.called.get(timeout=WAIT_S)
    page.open(served, "#/runtime/support-1")
    page.reads(".hand", "attempt 1, of 1 input")
    page.reads(".title .badge", "running")
    before = page.text(".hand .figure")
    page.until(lambda: page.text(".hand .figure") != before)
    agent.release()
    page.until(lambda: page.text(".hand .figure") == "none")
    page.until(lambda: "Consumed 1" in page.text(".facts"))


def test_the_ledger_is_a_picture_and_says_the_same_in_words(
    page: Page, serve_plane: ServePlane
) -> None:
    plane, served = serve_plane(Agent())
    plane.register("support-1")
    for text in ("one", "two", "fail:<img src=x onerror='window.hacked=1'>\u202e\x1b"):
        work(plane, text)
    page.open(served, "#/runtime/support-1")
    page.until(lambda: page.texts("#ledger .badge") == ["consumed", "consumed", "abandoned"])
    assert len(page.all("#ledger tbody svg .seg.run")) >= 3
    assert len(page.all("#ledger tbody svg .end.consumed")) == 2
    assert len(page.all("#ledger tbody svg .end.abandoned")) == 1
    assert "<img src=x onerror='window.hacked=1'>\ufffd\ufffd" in page.text(
        "#ledger tbody tr:last-child"
    )
    assert page.all("main img") == []
    assert page.script("return window.hacked") is None
    page.click("#ledger .choices button", "from their start")
    page.reads("#ledger .axis", "0 s")
    page.click("#ledger [aria-label='History of input 0']")
    steps = page.texts("#ledger .steps tbody tr td:nth-child(3)")
    assert steps[0] == "accepted → queued"
    assert steps[-1].endswith("→ consumed")
    assert page.see("#ledger [aria-label='History of input 0']").get_attribute("aria-expanded")


def test_what_waits_says_nothing_until_it_is_asked(page: Page, serve_plane: ServePlane) -> None:
    plane, served = serve_plane()
    plane.register("support-1")
    plane.ingest("support-1", PromptInput(f"<b>{SAID}</b>", idempotency_key="k-1"))
    page.open(served, "#/runtime/support-1")
    page.until(lambda: page.texts("#ledger .badge") == ["queued"])
    page.click("#ledger [aria-label='History of input 0']")
    assert SAID not in page.driver.page_source
    page.click("#ledger [data-payload]")
    page.reads("#ledger pre", f"<b>{SAID}</b>")
    assert page.all("#ledger pre b") == []


def test_what_the_session_said_is_shown_when_it_is_asked(
    page: Page, serve_plane: ServePlane
) -> None:
    plane, served = serve_plane(Agent())
    plane.register("support-1")
    work(plane, SAID)
    page.open(served, "#/runtime/support-1")
    page.see("#receipts tbody tr")
    assert SAID not in page.driver.page_source
    page.click("#messages button", "Show")
    page.reads("#messages", f"re: {SAID}")
    assert page.see("#messages button").get_attribute("aria-expanded") == "true"
    page.click("#messages button", "Hide")
    page.until(lambda: SAID not in page.driver.page_source)


def test_events_arrive_live_and_wait_while_they_are_paused(
    page: Page, serve_plane: ServePlane
) -> None:
    agent = Agent()
    plane, served = serve_plane(agent)
    plane.register("support-1")
    page.open(served, "#/runtime/support-1")
    page.see("#events")
    page.reads("#events [role=status]", "live")
    work(plane, "hello")
    page.until(lambda: any("run.completed" in each for each in page.texts("#events li")))
    page.click("#events button", "Pause")
    shown = page.texts("#events li")
    work(plane, "fail:no such ticket")
    page.until(lambda: page.text("#events button").startswith("Go on ("))
    page.until(lambda: int(page.text("#events button")[7:-1]) >= 3)
    assert page.texts("#events li") == shown
    page.click("#events button")
    page.until(lambda: any("no such ticket" in each for each in page.texts("#events li")))
    assert page.see("#events time").get_attribute("title").endswith(" UTC")


def test_events_that_were_missed_are_said_to_be(page: Page, serve_plane: ServePlane) -> None:
    _, served = serve_plane()
    page.open(served)
    told = page.module(
        """{
          const { gap } = await m("views/events");
          return given.map((missed) => gap(missed).textContent);
        }""",
        {"requested": 4, "dropped_through": 21},
        {"requested": 4, "dropped_through": 2**40},
        {"requested": 0, "dropped_through": 5},
    )
    assert told[0].startswith("Missed: 17 events")
    assert told[1].startswith("Missed: some events")
    assert told[2].startswith("What was told before is no longer kept")


def test_one_that_is_not_there_is_said_not_to_be(page: Page, serve_plane: ServePlane) -> None:
    _, served = serve_plane()
    page.expected.append("404")
    page.open(served, "#/runtime/missing")
    page.reads("main [role=alert]", "There is no runtime of this name.")
