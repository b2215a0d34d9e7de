"""What the live screen shows: the run as it is, a moment of it, or a text in the place of its prompt."""

from __future__ import annotations

from dataclasses import dataclass, replace

from distprompt_tui.runs.state import RunState
from distprompt_tui.text import formatting
from distprompt_tui.text.formatting import Line, Span
from distprompt_tui.text.terminal_text import fit_to, safe, visible_token
from distprompt_tui.tui.drawing.styled_text import key_hints
from distprompt_tui.tui.run.model_queries import Influence, ModelQueries
from distprompt_tui.tui.run.playback import History
from distprompt_tui.tui.run.token_table import Source
from distprompt_tui.tui.widgets.visible_input import show_whitespace

_TEXT_CELLS = 32
_TOKEN_CELLS = 12


@dataclass(frozen=True)
class DisplayState:
    """What the panels are drawn from.

    Attributes:
        state: of which the numbers, the prompt and the tokens are.
        note: the line that says so, in the notice's place; empty while the run is followed.
        source: where the tokens panel takes its distribution from.
        second: what stands beside the target in it.
        cursor_step: the moment, marked in the plot.
        influence: of the prompt's positions on a token.
    """

    state: RunState
    note: tuple[Span, ...] = ()
    source: Source = "newest"
    second: str = "achieved"
    cursor_step: int | None = None
    influence: Influence | None = None


def select_display_state(run: RunState, held: RunState | None, history: History, asker: ModelQueries) -> DisplayState:
    """What a person wants to see, the last wish first.

    Args:
        run: the run now.
        held: the run when the view was paused.
        history: open or not.
        asker: with an answer or not.
    """
    base = _base(run, held, history, asker)
    if asker.says:
        return replace(base, note=(("◐ ", "warning"), (safe(asker.says), "")))
    if asker.problem:
        return replace(base, note=(("✕ ", "error"), (safe(asker.problem), "error"), *_hints("esc back")))
    if (influence := asker.influence) is not None:
        source: Source = "held" if base.source == "newest" else base.source
        return replace(base, state=influence.state, source=source, note=_about(influence), influence=influence)
    return base


def _base(run: RunState, held: RunState | None, history: History, asker: ModelQueries) -> DisplayState:
    if asker.instead is not None:
        return DisplayState(asker.instead, _text_note(asker.text, asker.instead), "snapshot", "text")
    if (moment := history.moment) is not None:
        return DisplayState(moment, _history_note(history, moment, run), "snapshot", cursor_step=moment.step)
    if held is not None:
        behind = (f", +{run.step - held.step:,} steps", "")
        return DisplayState(held, (("‖ ", "warning"), ("view paused", "strong"), behind, *_hints("f go on")), "held")
    return DisplayState(run)


def _history_note(history: History, moment: RunState, run: RunState) -> tuple[Span, ...]:
    where: Line = [("step ", "quiet"), (f"{moment.step:,}", "strong"), (f" of {run.step:,}, ", "quiet")]
    back = "esc back to live" if run.phase != "ended" else "esc back to the end"
    if history.is_playing:
        speed = (f"replay {history.speed}x", "strong")
        return (("▶ ", "accent"), *where, speed, *_hints("p stand still   < > speed   esc back"))
    return (("‖ ", "accent"), *where, ("history", "strong"), *_hints(f"{back}   p replay"))


def _text_note(text: str, state: RunState) -> tuple[Span, ...]:
    text = fit_to(show_whitespace(text, space="·", all_spaces=False), _TEXT_CELLS)
    return (
        ("after ", "quiet"),
        (text, "strong"),
        ("   KL ", "quiet"),
        (formatting.nats(state.kl), "strong"),
        ("   H ", "quiet"),
        (formatting.nats(state.entropy), "achieved"),
        (" of ", "quiet"),
        (formatting.nats(state.entropy_target), "target"),
        *_hints("t another text   esc back to the run"),
    )


def _about(influence: Influence) -> tuple[Span, ...]:
    whose = "; best prompt" if influence.of_best else ""
    return (
        ("+ raises, − lowers ", "quiet"),
        (fit_to(visible_token(influence.token), _TOKEN_CELLS), "strong"),
        (f"; position replaced by mean embedding{whose}", "quiet"),
        *_hints("esc back"),
    )


def _hints(text: str) -> Line:
    return [("   ", ""), *key_hints(text)]
