"""Pages that are made by scripts are as the scripts make them now, and links between pages lead somewhere."""

from __future__ import annotations

import json
import re
import runpy
import statistics
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


def documented(page: str, header: str) -> dict[str, list[str]]:
    """The cells of the rows of a page's table that starts with a header, by the first cell."""
    _, table = (DOCS / page).read_text(encoding="utf-8").split(header, 1)
    lines = table.split("\n\n")[0].splitlines()[2:]
    return {cells[0]: cells[1:] for cells in (line.strip("| ").split(" | ") for line in lines)}


def test_the_table_of_sphere_bounds_agrees_with_its_data() -> None:
    rows = [json.loads(line) for line in (DOCS / "benchmarks" / "sphere-smollm2.jsonl").read_text().splitlines()]
    expected = {}
    for row in rows:
        floor, bound = row["floor"] + row["floor_rounding"], row["sphere_bound"] + row["sphere_rounding"]
        shown = [row["floor"], row["sphere_bound"], row["head_optimum"], floor, bound]
        share = (bound - floor) / (row["head_optimum"] - floor)
        assert share == pytest.approx(row["share_of_gap"])
        expected[row["target"]] = [*(f"{value:.4f}" for value in shown), f"{100 * share:.0f} %"]
    assert documented("bounds.md", "| target | floor | sphere bound |") == expected


def test_the_table_of_hard_searches_agrees_with_its_data() -> None:
    arms = ("random", "hotflip", "gcg", "hard")
    rows = [json.loads(line) for line in (DOCS / "benchmarks" / "hard-smollm2.jsonl").read_text().splitlines()]
    work = {(row["target"], row["seed"]): row["positions"] for row in rows if row["arm"] == "gcg"}
    optima = {row["target"]: row["head_optimum"] for row in rows}
    found: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        within = [kl for positions, _, kl in row["path"] if positions <= work[row["target"], row["seed"]]]
        found.setdefault((row["target"], row["arm"]), []).append(min(within) - row["head_optimum"])
    expected = {
        target: [f"{optimum:.4f}", *(f"{statistics.mean(found[target, arm]):.3f}" for arm in arms)]
        for target, optimum in optima.items()
    }
    assert documented("hard-search.md", "| target | head optimum | random |") == expected


def test_the_table_of_nanogcg_agrees_with_its_data() -> None:
    found, defaults = (
        [json.loads(line) for line in (DOCS / "benchmarks" / f"{name}-smollm2.jsonl").read_text().splitlines()]
        for name in ("nanogcg", "hard")
    )
    ours = {row["target"]: row["kl"] for row in found if row["arm"] == "hard" and row["seed"] == 0}
    expected, below = {}, 0
    for row in found:
        if row["arm"] != "nanogcg" or row["seed"] != 0:
            continue
        ends = [each["path"][-1][-1] for each in defaults if (each["arm"], each["target"]) == ("hard", row["target"])]
        assert len(ends) == 3
        below += row["kl"] is None or statistics.mean(ends) < row["kl"]
        kls = [row["kl"], ours.get(row["target"], "–"), statistics.mean(ends)]
        cells = [kl if kl == "–" else "failed" if kl is None else f"{kl - row['head_optimum']:.3f}" for kl in kls]
        works = [f"{row[name]:,}" for name in ("work", "work_as_run")]
        expected[row["target"]] = [f"{row['head_optimum']:.4f}", *cells, *works]
    assert documented("hard-search.md", "| target | head optimum | nanoGCG |") == expected
    page = (DOCS / "hard-search.md").read_text(encoding="utf-8")
    assert f"`hard` ends below nanoGCG on {below} of {len(expected)} targets" in page
    assert f"{max(row['positions'] for row in defaults if row['arm'] == 'hard'):,} positions or fewer" in page
    assert {row["mask_size"] for row in found if row["arm"] == "nanogcg"} == {48085}


def test_the_table_of_soft_searches_agrees_with_its_data() -> None:
    arms = ("ours 1200", "ours 300", "adam 300", "recipe", "ours short")
    found = json.loads((DOCS / "benchmarks" / "soft-smollm2.json").read_text())
    table = documented("soft-search.md", "| target | head optimum | ours, 1,200 |")
    assert len(table) == len(found["head_optima"])
    for index, (optimum, cells) in enumerate(zip(found["head_optima"], table.values(), strict=True)):
        ends = ([found[f"{arm}, seed {seed}"]["best"][index][-1] for seed in range(3)] for arm in arms)
        assert cells == [f"{optimum:.4f}", *(f"{statistics.median(each) - optimum:.4f}" for each in ends)]


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
