"""Pages that are made by scripts are as the scripts make them now, and links between pages lead somewhere."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md"))]


@pytest.mark.parametrize("name", ["keys", "findings"])
def test_a_page_is_as_its_script_makes_it(name: str) -> None:
    page = runpy.run_path(str(DOCS / f"{name}.py"))["page"]()
    assert (DOCS / f"{name}.md").read_text(encoding="utf-8") == page, f"python docs/{name}.py makes it anew"


def test_the_table_of_floors_agrees_with_its_data() -> None:
    found = json.loads((DOCS / "benchmarks" / "floor-smollm2.json").read_text())["targets"].values()
    expected = {
        (row["family"], f"{row['entropy']:g}"): [
            *(f"{row[name]:.3f}" for name in ("floor", "head_optimum")),
            f"{row['uniform_kl']:.2f}",
        ]
        for row in found
    }
    rows = re.findall(r"^\| `(\w+)`[^|]*\| ([\d.]+) \| (.*) \|$", (DOCS / "floor.md").read_text(), re.M)
    assert {(family, entropy): cells.split(" | ") for family, entropy, cells in rows} == expected


def anchors(page: Path) -> set[str]:
    """The anchors of a page: those of its headings as GitHub makes them, and explicit ones."""
    text = page.read_text(encoding="utf-8")
    headings = [re.sub(r"[^\w\- ]", "", heading.lower()).strip() for heading in re.findall(r"^#+ (.*)$", text, re.M)]
    return {heading.replace(" ", "-") for heading in headings} | set(re.findall(r'<a id="([^"]+)">', text))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_to_files_and_headings(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s#]*)(?:#([^)\s]*))?\)", page.read_text(encoding="utf-8"))
    for path, anchor in links:
        if not path.startswith("https://"):
            target = page.parent / path if path else page
            assert target.exists(), path
            assert not anchor or anchor in anchors(target), f"{path}#{anchor}"
