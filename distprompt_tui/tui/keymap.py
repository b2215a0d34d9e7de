"""Every key of the app in one table: the bindings, the key bar, the help and the palette are made from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from textual.binding import Binding

from distprompt_tui.config.methods import METHODS


@dataclass(frozen=True, slots=True)
class Key:
    """One thing that a key does.

    Attributes:
        keys: Textual's names of the keys, separated by commas.
        action: what is called, `action_…` on the screen or the app; empty: described here, bound in a widget.
        label: the word in the key bar.
        help: the sentence in the help and the palette.
        group: its heading in the help.
        footer_rank: place in the key bar, lower first where room is short; None: not in it.
        symbol: how the key is written; made from `keys` where empty.
        priority: it goes before the same key of the widget in focus.
        pair: how the key bar writes it and its opposite, which is not in it.
    """

    keys: str
    action: str
    label: str
    help: str
    group: str
    footer_rank: int | None = None
    symbol: str = ""
    priority: bool = False
    pair: str = ""

    @property
    def method(self) -> str:
        return self.action.partition("(")[0]

    @property
    def display(self) -> str:
        """The key as a person would write it."""
        return self.symbol or self.keys.split(",")[0]


APP_KEYS = (
    Key("question_mark,f1", "help", "help", "All keys, and what the words and the bars mean", "Anywhere", 1, "?"),
    Key("ctrl+p", "", "palette", "Everything by name: actions, presets, models, runs, themes", "Anywhere", 2, "^p"),
    Key("q,ctrl+q,ctrl+c", "quit", "quit", "Leave; asks first when a search is running", "Anywhere", 3, "q"),
    Key("u", "runs", "runs", "All runs: search, sort, compare, go on with one, delete", "Anywhere", 15),
    Key("S", "sweeps", "sweeps", "All sweeps: watch one, start, go on with or stop one", "Anywhere", 16),
    Key("comma", "settings", "settings", "Settings: theme, speed, how a run is shown at first", "Anywhere", 16, ","),
    Key("D", "doctor", "doctor", "Doctor: what this terminal and this machine can do", "Anywhere", 17),
)

LIVE_KEYS = (
    Key("space", "pause", "pause", "Pause the search, or let it go on", "The search", 4),
    Key("s", "stop", "stop", "End the search; asks first, the best prompt is kept", "The search", 5),
    Key("d,escape", "detach", "detach", "Back to where it was started; the search goes on", "The search", 6, "d"),
    Key("r", "rerun", "again", "Start the same search with the next seed", "The search", 7),
    Key("n", "fork", "fork", "Start a new search from this one, one setting changed", "The search", 14),
    Key("h", "history", "history", "Stand still and go through what was recorded, or replay it", "What is shown", 9),
    Key("f", "freeze", "freeze", "Hold the picture; the search goes on. Again: follow it", "What is shown", 15),
    Key("o", "order", "sort", "Sort tokens by mass, KL contribution, target, achieved or gap", "What is shown", 8),
    Key("slash", "find", "find", "Show only tokens that hold a text, or one by its id", "What is shown", 9, "/"),
    Key("m", "metric", "metric", "Divergence: KL, reverse KL, Jensen–Shannon, total variation", "What is shown", 10),
    Key("l", "plot_scale", "log", "Logarithmic or linear divergence", "What is shown", 12),
    Key("b", "bar_scale", "bars", "Linear or logarithmic bars", "What is shown", 13),
    Key(
        "c", "surprisal", "colour", "Colour the prompt: how surprising each token is to the model", "What is shown", 16
    ),
    Key("1", "panel('plot')", "", "Show or hide the divergence", "What is shown"),
    Key("2", "panel('gauges')", "", "Show or hide entropies and excess", "What is shown"),
    Key("3", "panel('prompt')", "", "Show or hide the prompt", "What is shown"),
    Key("4", "panel('tokens')", "", "Show or hide the tokens", "What is shown"),
    Key("z", "zoom", "zoom", "The panel in focus on the whole screen, and back", "What is shown", 16),
    Key("0", "reset", "", "All panels as they were", "What is shown"),
    Key("t", "try_text", "text", "Type a text and see what the model gives after it", "The model", 12),
    Key("a", "attribute", "why", "Which position of the prompt moves the chosen token", "The model", 13),
    Key("y", "copy", "copy", "Copy prompt, ids, result, command or path", "What is kept", 11),
    Key("e", "export", "export", "Write prompt, result or steps into a file", "What is kept", 15),
    Key("w", "log", "log", "The worker's own output", "What is kept", 17, "w"),
    Key("enter", "", "", "Look into the chosen position; put another token there", "The prompt, its panel in focus"),
    Key("x", "", "", "Lock the chosen position, or let it change again", "The prompt, its panel in focus"),
    Key("[ ]", "", "", "The position before or after; arrows do too", "The prompt, its panel in focus"),
    Key("tab,shift+tab", "", "", "The next panel", "Moving", None, "tab"),
    Key("up,down", "", "", "Tokens and prompt: move; j and k do too", "Moving", None, "↑ ↓"),
    Key("left,right", "", "", "Divergence: read off single steps; end follows the newest", "Moving", None, "← →"),
    Key("enter,plus", "", "", "Tokens: pin the chosen one to the top, or let it go", "Moving", None, "enter +"),
)

HISTORY_KEYS = (
    Key("left", "history_step(-1)", "", "The snapshot before", "In history", None, "←", priority=True),
    Key("right", "history_step(1)", "snapshots", "The next snapshot", "In history", 0, "→", priority=True, pair="← →"),
    Key("home", "history_end('first')", "", "The first snapshot", "In history", None, priority=True),
    Key("end", "history_end('newest')", "", "The newest snapshot", "In history", None, priority=True),
    Key("pageup", "history_page(-1)", "", "A tenth of the way back", "In history", None, "pgup", priority=True),
    Key("pagedown", "history_page(1)", "", "A tenth of the way on", "In history", None, "pgdn", priority=True),
    Key("p", "replay", "replay", "Replay from here, or stand still", "In history", 0),
    Key("less_than_sign", "replay_speed(-1)", "", "A slower replay: 1, 4, 16, 64 times", "In history", None, "<"),
    Key("greater_than_sign", "replay_speed(1)", "speed", "A faster replay", "In history", 1, ">", pair="< >"),
)

START_KEYS = (
    Key("enter", "start", "start", "Start the search; on a run: watch it", "The search", 0),
    Key("m", "method", "method", f"The next method: {', '.join(METHODS)}", "The search", 4),
    Key("left_square_bracket", "length(-1)", "", "A shorter prompt", "The search", None, "["),
    Key("right_square_bracket", "length(1)", "length", "A longer prompt", "The search", 5, "]", pair="[ ]"),
    Key("minus", "steps(-1)", "", "Fewer steps", "The search", None, "-"),
    Key("plus,equals_sign", "steps(1)", "steps", "More steps", "The search", 6, "+", pair="- +"),
    Key("e", "edit", "edit", "Change the chosen target in the editor", "The target", 4),
    Key("n", "blank", "new", "Write a target of your own: tokens and masses, or a text", "The target", 4),
    Key("p", "prepare", "prepare", "Make the chosen model ready: converted once, kept", "The model", 7),
    Key("tab,shift+tab", "", "next list", "Models, presets, search, runs", "Moving", 8, "tab"),
    Key("up,down", "", "", "Choose in a list; j and k do too", "Moving", None, "↑ ↓"),
    Key("ctrl+r", "reload", "", "Look again for models, presets and runs", "Anywhere", None, "^r"),
)

EDITOR_KEYS = (
    Key("ctrl+g,f5", "start", "start", "Start a search for this target; F5 too", "The search", 0, "^g"),
    Key("ctrl+s", "save", "save", "Save the target as a preset, under a name", "The target", 4, "^s"),
    Key("escape", "back", "back", "Back; asks first when something is not saved", "Moving", 5, "esc"),
    Key("ctrl+n", "rescale", "rescale", "Rescale the masses so that they sum to 1", "The target", 7, "^n"),
    Key("ctrl+r", "rest", "rest", "Spread the rest evenly, or as the model does after a text", "The target", 8, "^r"),
    Key("ctrl+t", "by_text", "text", "The model's own distribution after a text, or the rows", "The target", 6, "^t"),
    Key("ctrl+o", "as_rows", "as rows", "Take the largest tokens after the text as rows", "The target", 7, "^o"),
    Key("ctrl+l", "drop", "drop", "Take the row away", "The target", 9, "^l"),
    Key("enter", "", "", "The next field; where a row is several tokens: take the first", "Moving"),
    Key("tab,shift+tab", "", "", "The next or the last field", "Moving", None, "tab"),
    Key("up,down", "", "", "The row above or below", "Moving", None, "↑ ↓"),
)

RUNS_KEYS = (
    Key("enter", "open", "open", "Watch the run, living or ended", "The run", 0),
    Key("r", "resume", "resume", "Go on with a run that was stopped or that crashed", "The run", 7),
    Key("x,delete", "delete", "delete", "Delete the run for good; asks first, never a running one", "The run", 8, "x"),
    Key("space", "mark", "mark", "Mark the run, to compare it with others", "Several runs", 5),
    Key("c", "compare", "compare", "Two to six marked runs on one plot; how their specs differ", "Several runs", 6),
    Key("slash", "find", "find", "Show only runs that hold words: state, target, model, method", "The list", 4, "/"),
    Key("o", "order", "sort", "Newest first, or by best KL, left, target, model or state", "The list", 4),
    Key("escape", "back", "back", "Out of a search for runs; then back", "Moving", 4, "esc"),
    Key("up,down", "", "", "Choose a run; j and k do too", "Moving", None, "↑ ↓"),
)

COMPARE_KEYS = (
    Key("l", "scale", "log", "Logarithmic or linear divergence", "What is shown", 0),
    Key("t", "time", "seconds", "Over steps, or over the seconds that each has searched", "What is shown", 1),
    Key("escape", "back", "back", "Back", "Moving", 2, "esc"),
    Key("up,down", "", "", "Scroll what is different in their specs", "Moving", None, "↑ ↓"),
)

_ON_A_SWEEP = (
    Key("r", "run", "start", "Start the sweep, or go on with it, in a process of its own", "The sweep", 4),
    Key("s", "stop", "stop", "Stop the sweep; asks first, no result is lost", "The sweep", 5),
)

SWEEPS_KEYS = (
    Key("enter", "open", "open", "Watch the sweep, or see what it would do", "The sweep", 0),
    *_ON_A_SWEEP,
    Key("escape", "back", "back", "Back", "Moving", 4, "esc"),
    Key("up,down", "", "", "Choose a sweep; j and k do too", "Moving", None, "↑ ↓"),
)

SWEEP_KEYS = (
    Key(
        "left,shift+tab",
        "setting(-1)",
        "",
        "The setting before: model, method, length",
        "What is shown",
        None,
        "←",
        True,
    ),
    Key("right,tab", "setting(1)", "setting", "The next setting", "What is shown", 0, "→", True, "← →"),
    Key("v", "findings", "findings", "All that is said of the findings, or their effects alone", "What is shown", 7),
    Key("l", "scale", "log", "Logarithmic or linear divergence", "What is shown", 8),
    *_ON_A_SWEEP,
    Key("w", "log", "output", "What the sweep's processes printed", "The sweep", 9),
    Key("escape", "back", "back", "Back; the sweep goes on", "Moving", 6, "esc"),
    Key("up,down", "", "", "Scroll the table of points", "Moving", None, "↑ ↓"),
)

SETTINGS_KEYS = (
    Key("right,enter,space", "change(1)", "change", "The next value; it holds at once and is kept", "Settings", 0, "→"),
    Key("left", "change(-1)", "", "The value before", "Settings", None, "←"),
    Key("escape", "back", "back", "Back", "Moving", 4, "esc"),
    Key("up,down", "", "", "Choose a setting; j and k do too", "Moving", None, "↑ ↓"),
)

DOCTOR_KEYS = (
    Key("y", "copy", "copy", "Copy the checks, for a bug report", "The doctor", 0),
    Key("r", "again", "again", "Look again", "The doctor", 1),
    Key("escape", "back", "back", "Back", "Moving", 2, "esc"),
    Key("up,down", "", "", "Scroll", "Moving", None, "↑ ↓"),
)

EDITOR_APP_KEYS = (replace(APP_KEYS[0], symbol="F1"), APP_KEYS[1], replace(APP_KEYS[2], symbol="^q"))
"""Where letters are written into fields, only the other keys of these work."""


READ_ONLY = "This app is read-only: it looks at searches, and starts, pauses or ends none."
"""What a key answers that would do more."""


def bindings(keys: Iterable[Key]) -> list[Binding]:
    return [
        Binding(key.keys, key.action, key.label or key.help, show=False, priority=key.priority)
        for key in keys
        if key.action
    ]


def grouped(keys: Iterable[Key]) -> dict[str, list[Key]]:
    """The keys under their headings, both in the order of the table."""
    groups: dict[str, list[Key]] = {}
    for key in keys:
        groups.setdefault(key.group, []).append(key)
    return groups
