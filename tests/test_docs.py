"""Pages that are made by scripts are as the scripts make them now."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize("name", ["keys", "findings"])
def test_a_page_is_as_its_script_makes_it(name: str) -> None:
    page = runpy.run_path(str(DOCS / f"{name}.py"))["page"]()
    assert (DOCS / f"{name}.md").read_text(encoding="utf-8") == page, f"python docs/{name}.py makes it anew"
