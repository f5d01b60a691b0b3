"""Drawings: SVG that is legible in light and dark, of boxes, arrows and words.

A drawing brings its own ground, and takes its colours from what the reader has asked for. The
site says so for each picture when the reader has asked the site: see ``_static/site.css``.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Final

STYLE: Final = """\
<style>
  svg { --ground: #ffffff; --ink: #1f2328; --soft: #59636e; --box: #f6f8fa; --line: #8c959f;
    --strong: #ddf4ff; --edge: #0969da; }
  @media (prefers-color-scheme: dark) {
    svg { --ground: #131416; --ink: #e6edf3; --soft: #9198a1; --box: #1f2328; --line: #6e7681;
      --strong: #10294b; --edge: #4493f8; } }
  .ground { fill: var(--ground); }
  .box { fill: var(--box); stroke: var(--line); }
  .strong { fill: var(--strong); stroke: var(--edge); }
  .arrow { fill: none; stroke: var(--edge); stroke-width: 1.6; marker-end: url(#head); }
  .head { fill: var(--edge); }
  .stays { fill: none; stroke: var(--edge); stroke-width: 1.6; }
  .life { stroke: var(--line); stroke-dasharray: 2 4; }
  text { fill: var(--ink); font: 14px system-ui, sans-serif; text-anchor: middle;
    paint-order: stroke; }
  .title { font-weight: 600; }
  .soft { fill: var(--soft); font-size: 12.5px; }
  .on { stroke: var(--ground); stroke-width: 5px; stroke-linejoin: round; }
  .left { text-anchor: start; }
</style>"""

_HEAD: Final = (
    '<marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
    'orient="auto-start-reverse"><path class="head" d="M0 0 L10 5 L0 10 z"/></marker>'
)


def drawing(width: int, height: int, title: str, parts: Iterable[str]) -> str:
    """A whole drawing; the title is what is read out in its place."""
    return "\n".join(
        [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
                f'width="{width}" height="{height}" role="img" aria-labelledby="what">'
            ),
            f'<title id="what">{escape(title)}</title>',
            STYLE,
            f"<defs>{_HEAD}</defs>",
            f'<rect class="ground" width="{width}" height="{height}" rx="8"/>',
            *parts,
            "</svg>\n",
        ]
    )


def box(x: float, y: float, width: float, height: float, kind: str = "box") -> str:
    """A box by its upper left corner."""
    return f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="6"/>'


def words(x: float, y: float, text: str, kind: str = "") -> str:
    """One line of text; its middle, or with ``left`` its beginning, is at x."""
    return f'<text x="{x}" y="{y}" class="{kind}">{escape(text)}</text>'


def arrow(path: str) -> str:
    """An arrow along a path as SVG writes them."""
    return f'<path class="arrow" d="{path}"/>'
