"""Selects the state on a run's screen: the latest, a recorded one, or one with a text as the prompt."""

from __future__ import annotations

from dataclasses import dataclass, replace

from distprompt_tui.core.text import formatting
from distprompt_tui.core.text.formatting import Line, Span
from distprompt_tui.core.text.terminal_text import fit_to, sanitize, visible_token
from distprompt_tui.runs.state import RunState
from distprompt_tui.tui.drawing.styled_text import key_hints
from distprompt_tui.tui.run.model_queries import Influence, ModelQueries
from distprompt_tui.tui.run.playback import Playback
from distprompt_tui.tui.run.token_table import DataSource
from distprompt_tui.tui.widgets.visible_input import show_whitespace

_TEXT_CELLS = 32
_TOKEN_CELLS = 12


@dataclass(frozen=True)
class DisplayState:
    """The state that the panels show. `note` describes it in the banner, and is empty for the latest state."""

    state: RunState
    note: tuple[Span, ...] = ()
    source: DataSource = "newest"
    comparison_label: str = "achieved"
    cursor_step: int | None = None
    influence: Influence | None = None


def select_display_state(
    run: RunState, frozen_state: RunState | None, playback: Playback, queries: ModelQueries
) -> DisplayState:
    """Select an answer of the model, else a recorded state, else a frozen one, else the latest."""
    base = _base(run, frozen_state, playback, queries)
    if queries.status:
        return replace(base, note=(("◐ ", "warning"), (sanitize(queries.status), "")))
    if queries.problem:
        return replace(base, note=(("✕ ", "error"), (sanitize(queries.problem), "error"), *_hints("esc back")))
    if (influence := queries.influence) is not None:
        source: DataSource = "frozen" if base.source == "newest" else base.source
        return replace(base, state=influence.state, source=source, note=_about(influence), influence=influence)
    return base


def _base(run: RunState, frozen_state: RunState | None, playback: Playback, queries: ModelQueries) -> DisplayState:
    if queries.substituted is not None:
        return DisplayState(queries.substituted, _text_note(queries.text, queries.substituted), "snapshot", "text")
    if (recorded := playback.current) is not None:
        return DisplayState(recorded, _history_note(playback, recorded, run), "snapshot", cursor_step=recorded.step)
    if frozen_state is not None:
        behind = (f", +{formatting.counted(run.step - frozen_state.step, 'step')}", "")
        return DisplayState(
            frozen_state, (("‖ ", "warning"), ("view frozen", "strong"), behind, *_hints("f unfreeze")), "frozen"
        )
    return DisplayState(run)


def _history_note(playback: Playback, recorded: RunState, run: RunState) -> tuple[Span, ...]:
    where: Line = [("step ", "quiet"), (f"{recorded.step:,}", "strong"), (f" of {run.step:,}, ", "quiet")]
    back = "esc back to live" if run.phase != "ended" else "esc back to the end"
    if playback.is_playing:
        speed = (f"replay {playback.speed}x", "strong")
        return (("▶ ", "accent"), *where, speed, *_hints("p pause   < > speed   esc back"))
    return (("‖ ", "accent"), *where, ("history", "strong"), *_hints(f"{back}   p replay"))


def _text_note(text: str, state: RunState) -> tuple[Span, ...]:
    text = fit_to(show_whitespace(text, space="·", all_spaces=False), _TEXT_CELLS)
    return (
        ("after ", "quiet"),
        (text, "strong"),
        ("   KL ", "quiet"),
        (formatting.nats(state.kl), "strong"),
        ("   entropy ", "quiet"),
        (formatting.nats(state.entropy), "achieved"),
        (" → ", "quiet"),
        (formatting.nats(state.entropy_target), "target"),
        *_hints("t another text   esc back to the run"),
    )


def _about(influence: Influence) -> tuple[Span, ...]:
    whose = " (best prompt)" if influence.of_best else ""
    return (
        ("+ raises, − lowers ", "quiet"),
        (fit_to(visible_token(influence.token), _TOKEN_CELLS), "strong"),
        (f"; position replaced by mean embedding{whose}", "quiet"),
        *_hints("esc back"),
    )


def _hints(text: str) -> Line:
    return [("   ", ""), *key_hints(text)]
