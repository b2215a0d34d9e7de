"""Self-contained HTML pages, and the elements that pages of runs and sweeps share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from distprompt_tui.core.storage.decode import Probability
from distprompt_tui.core.text.formatting import mass
from distprompt_tui.core.text.terminal_text import visible_token
from distprompt_tui.reports.html import Markup, element
from distprompt_tui.runs.schema import PromptToken

BARS = 12  # maximum number of tokens in a bar chart


@dataclass(frozen=True)
class TokenBars:
    """Probability of a token in the target, before and after the search; None if it was not recorded."""

    text: str
    target: Probability
    before: Probability | None
    after: Probability


def page(title: str, *body: str) -> Markup:
    style = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Markup(style)),
    )
    document = element("html", head, element("body", *body), lang="en")
    return Markup(f"<!doctype html>\n{document}\n")


def heading(kicker: str, title: str, lead: str) -> Markup:
    return element(
        "header",
        element("div", kicker, class_="kicker"),
        element("h1", title),
        element("p", lead, class_="lead") if lead else "",
    )


def stat_list(pairs: Mapping[str, str]) -> Markup:
    return element(
        "dl",
        [element("div", element("dt", name), element("dd", value)) for name, value in pairs.items()],
        class_="facts",
    )


def details(title: str, text: str) -> Markup:
    return element("details", element("summary", title), element("pre", text))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    head = element("thead", element("tr", [element("th", column) for column in columns]))
    body = element("tbody", [element("tr", [element("td", cell) for cell in row]) for row in rows])
    return element("div", element("table", head, body), class_="scroll")


def distribution(rows: Sequence[TokenBars]) -> Markup:
    largest = max((value for row in rows for value in (row.target, row.after, row.before or 0.0)), default=0.0) or 1.0
    cells = []
    for row in rows[:BARS]:
        bars = [("target", row.target), ("after", row.after), ("before", row.before)]
        cells += [
            element("span", visible_token(row.text), class_="token", title=visible_token(row.text)),
            element(
                "span",
                [
                    element("i", class_=name, style=f"--w:{100 * value / largest:.2f}%", title=f"{name} {mass(value)}")
                    for name, value in bars
                    if value is not None
                ],
                class_="track",
            ),
            element("span", f"{mass(row.target)} → {mass(row.after)}", class_="quiet"),
        ]
    return element("div", cells, class_="bars")


def distribution_key() -> Markup:
    names = (("target", "target"), ("after", "after the search"), ("before", "before the search"))
    spans = [element("span", element("i", class_=f"key {style}"), f"{words}  ") for style, words in names]
    return element("p", spans, "Numbers: target → after.", class_="note")


def prompt(tokens: Sequence[PromptToken]) -> Markup:
    chips = []
    for token in tokens:
        near = "" if token.cosine is None else element("small", f"{token.cosine:.2f}")
        chips.append(element("span", visible_token(token.text), near, class_="token"))
    return element("div", chips, class_="chips")


def footer(*lines: str) -> Markup:
    return element("footer", [element("div", line) for line in lines])
