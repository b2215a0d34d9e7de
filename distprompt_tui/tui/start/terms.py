"""The terms that the screens use, in one sentence each, for a start without any run."""

from __future__ import annotations

from distprompt_tui.core.text.formatting import Line
from distprompt_tui.tui.drawing.styled_text import wrapped
from distprompt_tui.tui.widgets.line_widget import LineWidget

TERMS = (
    (
        "KL",
        "",
        "The divergence KL(p‖q) of the achieved distribution q from the target p, in nats; a search minimizes it, and "
        "0 means that both are equal.",
    ),
    (
        "uniform baseline",
        "",
        "The KL if all tokens had the same probability, ln V − H(p); a prompt above it is worse than no information.",
    ),
    (
        "head optimum",
        "accent",
        "The lowest KL found over all states that the model's output layer can receive: a measurement, which a good "
        "soft prompt reaches. The rest of a prompt's KL is its excess.",
    ),
    (
        "floor",
        "",
        "A proven lower bound: no prompt of this model, soft or hard and of any length, has a lower KL.",
    ),
)
"""Term, role of its name, and explanation."""


class TermsCard(LineWidget[None]):
    BORDER_TITLE = "Terms"

    def __init__(self, *, id: str, classes: str) -> None:
        super().__init__(None, id=id, classes=classes)

    def lines(self, width: int, height: int) -> list[Line]:
        lines: list[Line] = []
        for name, role, explanation in TERMS:
            lines += [[(name, role or "strong")], *wrapped(explanation, width, "quiet"), []]
        return lines[:-1]
