"""The command that writes figures into the page puts each into its row, and nothing else."""

from __future__ import annotations

import pytest
from table import BEGIN, END, PAGE, with_figures

RISKS = ("hostile bytes", "ids as paths", "floods", "secrets in logs", "SQL", "database file")
TABLES = f"""# Page
{BEGIN}
Measured on a day.

| # | Promise | Figure |
|---|---|---|
| 1 | nothing is lost | old |
| 10 | nothing is coerced | old |
| 12 | nothing grows | old |
| floods | refused | old |
| SQL | bound | old |
{END}
| 1 | not ours | old |
"""


def test_each_row_has_its_figures() -> None:
    lines = [
        "1 SIGKILL: kills 500; lost 0",
        "10 decoder: documents 7; coerced 0",
        "12 soak, one life: seconds 3",
        "12 soak, killed: kills 2",
        "floods, size of a payload: refused 4",
    ]
    page = with_figures(TABLES, lines, "Measured on another day.")
    assert "| 1 | nothing is lost | kills 500; lost 0 |" in page
    assert "| 10 | nothing is coerced | documents 7; coerced 0 |" in page
    assert "| 12 | nothing grows | one life: seconds 3<br>killed: kills 2 |" in page
    assert "| floods | refused | size of a payload: refused 4 |" in page
    assert "| SQL | bound | old |" in page
    assert page.endswith(f"{END}\n| 1 | not ours | old |\n")
    assert "Measured on another day.\n\n| # | Promise | Figure |\n|---|---|---|\n" in page
    assert "a day." not in page.replace("another day.", "")
    assert with_figures(page, lines, "Measured on another day.") == page


def test_a_page_without_marks_is_not_written() -> None:
    with pytest.raises(ValueError, match="the page has no"):
        with_figures("# Page\n", [], "Measured on a day.")


def test_the_page_has_a_row_for_every_test_and_every_risk() -> None:
    lines = [f"{number} name: count 1" for number in range(1, 14)]
    lines += [f"{risk}: count 1" for risk in RISKS]
    page = with_figures(PAGE.read_text(), lines, "Measured on a day.")
    assert page.count("| count 1 |") == len(lines)
