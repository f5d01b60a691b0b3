"""Routes: all that the page answers to, as one table. What is not in it does not exist."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from attrs import frozen
from starlette.requests import Request
from starlette.responses import Response

from actors.dashboard import reads
from actors.dashboard.actions import act
from actors.dashboard.answers import json_answer
from actors.dashboard.asked import Asked
from actors.dashboard.desk import Desk
from actors.dashboard.scraping import exposition
from actors.dashboard.sources import Source
from actors.dashboard.streams import event_texts, figures_texts
from actors.facts import Facts

Answer = Callable[[Desk, Request], Awaitable[Response]]


@frozen
class Route:
    """One of them."""

    method: str
    path: str
    answer: Answer


# --- documents --------------------------------------------------------------------------


def _read(read: Callable[[Source, Asked], Facts]) -> Answer:
    async def answer(desk: Desk, request: Request) -> Response:
        return json_answer(await desk.read(read, Asked(request.query_params)))

    return answer


async def _overview(desk: Desk, request: Request) -> Response:
    def read(source: Source, _asked: Asked) -> Facts:
        return reads.overview(source, allow_actions=desk.allow_actions)

    return json_answer(await desk.read(read, Asked(request.query_params)))


# --- streams ----------------------------------------------------------------------------


async def _events(desk: Desk, request: Request) -> Response:
    asked = Asked(request.query_params)
    runtime_id, payload = asked.any_runtime(), asked.flag("payload")
    after = asked.number("after", request.headers.get("last-event-id"))
    place = desk.streams.reserve()
    try:
        feed = await desk.source.events(runtime_id, after)
    except BaseException:
        place.leave()
        raise
    numbered = runtime_id is not None
    texts = event_texts(feed, desk.streams, numbered=numbered, payload=payload)
    return place.taken(texts, feed.close)


async def _figures(desk: Desk, request: Request) -> Response:
    asked = Asked(request.query_params)
    if asked.flag("once"):
        return json_answer(await desk.read(reads.figures, asked))
    place = desk.streams.reserve()
    try:
        await desk.latest_figures()  # where there are none, that is said, and no stream begins
    except BaseException:
        place.leave()
        raise
    return place.taken(figures_texts(desk.latest_figures, desk.streams), lambda: None)


# --- for Prometheus ---------------------------------------------------------------------


async def _metrics(desk: Desk, _request: Request) -> Response:
    return await desk.reads.do(lambda: exposition(desk.source.measured()))


# --- the page itself --------------------------------------------------------------------

_TYPES: Final[Mapping[str, str]] = {
    "html": "text/html",
    "css": "text/css",
    "js": "text/javascript",
    "svg": "image/svg+xml",
}

_PAGE: Final = "index.html"


def _file(file: Traversable) -> Answer:
    media_type = _TYPES[file.name.rpartition(".")[2]]

    async def answer(desk: Desk, _request: Request) -> Response:
        return Response(await desk.reads.do(file.read_bytes), media_type=media_type)

    return answer


def _static() -> list[Route]:
    root = files(__package__).joinpath("static")
    return [
        Route("GET", "/" if path == _PAGE else f"/static/{path}", _file(file))
        for path, file in sorted(_below(root, ""), key=lambda found: found[0])
    ]


def _below(folder: Traversable, path: str) -> Iterator[tuple[str, Traversable]]:
    for each in folder.iterdir():
        if each.is_dir():
            yield from _below(each, f"{path}{each.name}/")
        elif each.name.rpartition(".")[2] in _TYPES:
            yield path + each.name, each


ROUTES: Final = (
    Route("GET", "/api/overview", _overview),
    Route("GET", "/api/runtimes", _read(reads.runtimes)),
    Route("GET", "/api/runtime", _read(reads.runtime)),
    Route("GET", "/api/inputs", _read(reads.inputs)),
    Route("GET", "/api/receipts", _read(reads.receipts)),
    Route("GET", "/api/messages", _read(reads.messages)),
    Route("GET", "/api/runs", _read(reads.runs)),
    Route("GET", "/api/supervision", _read(reads.supervision)),
    Route("GET", "/api/events", _events),
    Route("GET", "/api/figures", _figures),
    Route("POST", "/api/act", act),
    Route("GET", "/metrics", _metrics),
    *_static(),
)
"""All of them; what a browser shows comes with the package, and is listed when it is loaded."""
