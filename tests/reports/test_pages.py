"""Pages are complete, well nested and self-contained, and escape tokens."""

from __future__ import annotations

import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.core.config.target_specs import Uniform
from distprompt_tui.core.errors import NotFoundError
from distprompt_tui.reports.html import VOID, Markup, element
from distprompt_tui.reports.run_page import run_page
from distprompt_tui.reports.run_report import report_run
from distprompt_tui.reports.sweep_page import sweep_page
from distprompt_tui.reports.sweep_report import report_sweep
from distprompt_tui.runs.directory import create_run
from distprompt_tui.runs.inputs import read_inputs
from distprompt_tui.sweeps.directory import SweepDirectory
from tests.reports.factories import completed_sweep, example_sweep
from tests.runs.test_export import searched

THREE = [
    {"name": "vanilla", "target": {"family": "vanilla"}},
    {"name": "own", "target": {"family": "lm"}},
    {"name": "dealt", "target": {"family": "shuffled"}},
]


class Structure(HTMLParser):
    """Counts elements, and fails on an end tag without a start tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: Counter[str] = Counter()
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[tag] += 1
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def checked(page: str) -> Structure:
    """Return the structure of a page; fail unless it is complete and self-contained."""
    found = Structure(page)
    assert found.open == []
    assert {"html": 1, "head": 1, "body": 1, "title": found.seen["title"], "h1": 1}.items() <= found.seen.items()
    assert not found.seen.keys() & {"script", "link", "img", "iframe", "object"}
    assert not {name for name, _ in found.attributes} & {"src", "href", "srcset", "onload", "onclick"}
    assert not re.search(r"url\((?!#)", page)
    assert all((value or "").startswith("#") for name, value in found.attributes if name == "xlink:href")
    ids = [value for name, value in found.attributes if name == "id"]
    assert {value.removeprefix("#") for name, value in found.attributes if name == "xlink:href" and value} <= set(ids)
    assert "@import" not in page
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", page)
    assert "nan" not in " ".join(value or "" for name, value in found.attributes if name in ("d", "x", "y"))
    return found


def page_of(directory: SweepDirectory) -> Structure:
    return checked(sweep_page(report_sweep(directory), directory.read_result))


def test_sweep_page_has_all_parts(tmp_path: Path) -> None:
    found = page_of(completed_sweep(example_sweep(), tmp_path, refuse=lambda search: search.target_index == 5))
    for part in (
        "✓ supported",
        "peak chosen on other targets",
        "Holm p 0.",
        "moderate − ",
        "All points",
        "best",
        "median",
        "worst",
        "out of reach <here>",
        "1:01",
    ):
        assert part in found.text
    assert 'finding = "entropy"' in found.text  # the spec
    assert "Made up & <b>nothing else</b>" in found.text
    assert "‹202E›" in found.text  # a token's string, visible
    for part in ("head optimum", "floor", "vanilla"):
        assert part in found.text
    outcomes = {f"card result {word}" for word in ("supported", "not-supported", "inconclusive", "not-tested")}
    assert {value for name, value in found.attributes if name == "class" and "result" in (value or "")} <= outcomes


@pytest.mark.parametrize("with_limits", [True, False])
def test_one_target_one_entropy_and_three_series(tmp_path: Path, with_limits: bool) -> None:
    sweep = example_sweep(finding="lm-targets", series=THREE, texts=["a"], targets=1, entropies=[3.0])
    found = page_of(completed_sweep(sweep, tmp_path, with_limits=with_limits))
    assert found.text.count("a single target gives no interval") == 2
    assert ("head optimum —" in found.text) is not with_limits


def test_page_without_rows_or_finding(tmp_path: Path) -> None:
    assert "There are no results yet" in page_of(completed_sweep(example_sweep(), tmp_path, refuse=lambda _: True)).text
    assert "Findings" not in page_of(completed_sweep(example_sweep(finding=None), tmp_path)).text


def test_page_without_result_files_has_the_numbers(tmp_path: Path) -> None:
    directory = completed_sweep(example_sweep(), tmp_path)
    for file in directory.results.iterdir():
        file.unlink()
    assert page_of(directory).text.count("The prompt was not stored.") == 6


@pytest.mark.parametrize("method", ["soft", "hard"])
def test_run_page(tiny_folders: dict[str, Path], tmp_path: Path, method: str) -> None:
    run = searched(tiny_folders["llama"], tmp_path, search={"method": method, "length": 4}, budget={"steps": 4})
    report = report_run(run)
    found = checked(run_page(report))
    kl = json.loads(run.result.read_text())["kl"]
    assert f"{kl:.3f}" in found.text or f"{kl:.1e}" in found.text
    assert report.first is not None
    assert report.first.step == 0
    assert 'method = "' + method in found.text
    assert f"The {report.state.vocab_size - 12} other tokens: target 0." in found.text


def test_witness_is_in_every_record_of_a_run(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    """Result, manifest, state and page have the divergence of the witness, and a longer one has its length."""
    fields = {"search": {"method": "hard", "length": 2, "width": 4}, "budget": {"steps": 1}}
    text = "yes or no, heads or tails"
    run = searched(tiny_folders["llama"], tmp_path, **fields, witness=text)
    result, manifest = (json.loads(file.read_text()) for file in (run.result, run.manifest))
    report = report_run(run)
    assert report.state.witness is not None
    assert result["witness_kl"] == manifest["witness"]["kl"] == report.state.witness.kl > 0
    assert result["witness_ids"] == manifest["witness"]["ids"]
    assert (result["witness_text"], result["witness_length"]) == (text, len(result["witness_ids"]))
    assert f"{result['witness_kl']:.3f} ({result['witness_length']} tokens)" in checked(run_page(report)).text
    assert read_inputs(run) is not None


def test_run_without_a_result_has_no_report(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no result yet"):
        report_run(create_run(RunSpec(target=Uniform()), tmp_path))


def test_element_escapes_text() -> None:
    made = element("p", "<b>", Markup("<i></i>"), ["&", "x"], class_="a", title='"<', data_x=1.50, hidden=None)
    assert made == '<p class="a" title="&quot;&lt;" data-x="1.5">&lt;b&gt;<i></i>&amp;x</p>'
    assert element("br") == "<br>"
