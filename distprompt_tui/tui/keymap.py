"""All keys of the app. Bindings, key bar, help and palette are built from these tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from textual.binding import Binding

from distprompt_tui.core.config.methods import METHODS


@dataclass(frozen=True, slots=True)
class Key:
    """A key and its action.

    Attributes:
        keys: Textual's key names, separated by commas.
        action: name of an `action_…` method of the screen or the app; empty if a widget binds the key.
        label: label in the key bar.
        help: description in the help and the palette.
        group: heading in the help.
        footer_rank: priority in the key bar, lower first if space is short; None: not in the key bar.
        symbol: displayed key; derived from `keys` if empty.
        priority: overrides the same key of the focused widget.
        pair: symbols of this key and its opposite, which is not in the key bar.
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
        return self.symbol or self.keys.split(",")[0]


APP_KEYS = (
    Key("question_mark,f1", "help", "help", "All keys, terms and bars", "Anywhere", 1, "?"),
    Key("ctrl+p", "", "palette", "Search actions, presets, models, runs and themes", "Anywhere", 2, "^p"),
    Key("q,ctrl+q,ctrl+c", "quit", "quit", "Quit; asks first if a search is running", "Anywhere", 3, "q"),
    Key("u", "runs", "runs", "All runs: find, sort, compare, resume, delete", "Anywhere", 15),
    Key("S", "sweeps", "sweeps", "All sweeps: watch, start, resume, stop", "Anywhere", 16),
    Key("comma", "settings", "settings", "Settings: theme, refresh rate, default view of a run", "Anywhere", 16, ","),
    Key("D", "doctor", "doctor", "Doctor: check this terminal and this machine", "Anywhere", 17),
)

LIVE_KEYS = (
    Key("space", "pause", "pause", "Pause or resume the search", "The search", 4),
    Key("s", "stop", "stop", "Stop the search; asks first, keeps the best prompt", "The search", 5),
    Key("d,escape", "detach", "detach", "Return to the previous screen; the search continues", "The search", 6, "d"),
    Key("r", "rerun", "again", "Start the same search with the next seed", "The search", 7),
    Key("n", "fork", "fork", "Start a copy of this search with one setting changed", "The search", 14),
    Key("ctrl+z", "undo", "undo", "Undo the last manual change of the prompt", "The search", 8, "^z"),
    Key("ctrl+y", "redo", "redo", "Redo the manual change that was undone", "The search", 8, "^y"),
    Key("h", "history", "history", "Browse or replay the recorded snapshots", "View", 9),
    Key("f", "freeze", "freeze", "Freeze or unfreeze the screen; the search continues", "View", 15),
    Key("o", "order", "sort", "Sort tokens by probability, KL contribution, p, q or q − p", "View", 9),
    Key("slash", "find", "find", "Find tokens by text or id", "View", 9, "/"),
    Key("v", "view", "view", "Tokens as a table, a density or probability by rank", "View", 8),
    Key("m", "metric", "divergence", "Divergence: KL, reverse KL, Jensen–Shannon, total variation", "View", 10),
    Key("l", "plot_scale", "log", "Logarithmic or linear divergence", "View", 12),
    Key("X", "zoom_plot('steps')", "", "Divergence: all steps, the last half, fifth or twentieth", "View"),
    Key("Y", "zoom_plot('values')", "", "Divergence: the range of all steps, or of the last half", "View"),
    Key("b", "bar_scale", "bars", "Linear or logarithmic bars", "View", 13),
    Key("c", "surprisal", "colour", "Colour the prompt by each token's surprisal", "View", 16),
    Key("1", "panel('plot')", "", "Show or hide the divergence", "View"),
    Key("2", "panel('gauges')", "", "Show or hide gap and entropies", "View"),
    Key("3", "panel('prompt')", "", "Show or hide the prompt", "View"),
    Key("4", "panel('tokens')", "", "Show or hide the tokens", "View"),
    Key("5", "panel('details')", "", "Show or hide configuration and device, from 160x45", "View"),
    Key("z", "zoom", "zoom", "Show the focused panel on the whole screen, and back", "View", 16),
    Key("0", "reset", "", "Restore all panels and the whole divergence", "View"),
    Key("t", "try_text", "text", "Show the model's distribution after a text", "The model", 12),
    Key("g", "step_on", "continue", "Append the selected token and show what follows", "The model", 13),
    Key("a", "attribute", "attribute", "Attribute the selected token to the prompt's positions", "The model", 13),
    Key("y", "copy", "copy", "Copy the prompt, ids, result, command or path", "Output", 11),
    Key("e", "export", "export", "Export the prompt, result or steps to a file", "Output", 15),
    Key("w", "log", "log", "Show the worker's output", "Output", 17, "w"),
    Key("enter", "", "", "Inspect the selected position or replace its token", "Focused prompt panel"),
    Key("x", "", "", "Lock or unlock the selected position", "Focused prompt panel"),
    Key("[ ]", "", "", "Previous or next position; also the arrow keys", "Focused prompt panel"),
    Key("tab,shift+tab", "", "", "The next panel", "Moving", None, "tab"),
    Key("up,down", "", "", "Tokens and prompt: move; also j and k", "Moving", None, "↑ ↓"),
    Key("left,right", "", "", "Divergence: read single steps; end: follow the latest", "Moving", None, "← →"),
    Key("up,down,left,right", "", "", "Density and ranks: select a cell or rank; end: none", "Moving", None, "arrows"),
    Key("right", "", "", "Tokens: append the selected token, as g", "Moving", None, "→"),
    Key("enter,plus", "", "", "Tokens: pin the selected token to the top, or unpin it", "Moving", None, "enter +"),
)

HISTORY_KEYS = (
    Key("left", "history_step(-1)", "", "The previous snapshot", "In history", None, "←", priority=True),
    Key("right", "history_step(1)", "snapshots", "The next snapshot", "In history", 0, "→", priority=True, pair="← →"),
    Key("home", "history_end('first')", "", "The first snapshot", "In history", None, priority=True),
    Key("end", "history_end('newest')", "", "The latest snapshot", "In history", None, priority=True),
    Key(
        "pageup", "history_page(-1)", "", "Back by a tenth of the snapshots", "In history", None, "pgup", priority=True
    ),
    Key(
        "pagedown",
        "history_page(1)",
        "",
        "Forward by a tenth of the snapshots",
        "In history",
        None,
        "pgdn",
        priority=True,
    ),
    Key("p", "replay", "replay", "Start or pause the replay", "In history", 0),
    Key("less_than_sign", "replay_speed(-1)", "", "Slower replay: 1, 4, 16 or 64 times", "In history", None, "<"),
    Key("greater_than_sign", "replay_speed(1)", "speed", "Faster replay", "In history", 1, ">", pair="< >"),
)

STEP_KEYS = (
    Key("right,enter", "append", "append", "Append the selected token", "The path", 0, "→"),
    Key("left,backspace", "take_back", "take back", "Take the last token back", "The path", 1, "←"),
    Key("0", "to_start", "prompt", "Return to the prompt alone", "The path", 5),
    Key(
        "n",
        "use",
        "new search",
        "Start a search with the path as context, or its distribution as target",
        "The path",
        4,
    ),
    Key("t", "use_target", "target", "Start a search for the distribution after the path", "The path", 3),
    Key("escape", "back", "back", "Back to the run", "Moving", 2, "esc"),
    Key("up,down", "", "", "Select a token; also j and k", "Moving", None, "↑ ↓"),
)

START_KEYS = (
    Key("enter", "start", "start", "Start the search; on a run: open it", "The search", 0),
    Key("m", "method", "method", f"Next method: {', '.join(METHODS)}", "The search", 4),
    Key("left_square_bracket", "length(-1)", "", "A shorter prompt", "The search", None, "["),
    Key("right_square_bracket", "length(1)", "length", "A longer prompt", "The search", 5, "]", pair="[ ]"),
    Key("left_curly_bracket", "steps(-1)", "", "Fewer steps", "The search", None, "{"),
    Key("right_curly_bracket", "steps(1)", "steps", "More steps", "The search", 6, "}", pair="{ }"),
    Key("minus", "entropy(-1)", "", "Lower the target's entropy by 0.5 nats", "The target", None, "-"),
    Key(
        "plus,equals_sign",
        "entropy(1)",
        "entropy",
        "Raise the target's entropy by 0.5 nats",
        "The target",
        4,
        "+",
        pair="- +",
    ),
    Key("e", "edit", "edit", "Edit the selected target", "The target", 4),
    Key("n", "blank", "new", "New target: tokens and probabilities, or a recipe", "The target", 4),
    Key("r", "rename", "rename", "Rename your preset", "The target", 10),
    Key(
        "x,delete",
        "delete",
        "delete",
        "Delete your preset, or restore the shipped one; asks first",
        "The target",
        9,
        "x",
    ),
    Key("p", "prepare", "prepare", "Download or convert the selected model; done once", "The model", 7),
    Key("y", "copy", "copy", "Copy the selected run's prompt, ids, result, command or path", "The selected run", 9),
    Key("tab,shift+tab", "", "next list", "Models, presets, search, runs", "Moving", 8, "tab"),
    Key("up,down", "", "", "Move in a list; also j and k", "Moving", None, "↑ ↓"),
    Key("ctrl+r", "reload", "", "Reload models, presets and runs", "Anywhere", None, "^r"),
)

EDITOR_KEYS = (
    Key("ctrl+g,f5", "start", "start", "Start a search for this target; also F5", "The search", 0, "^g"),
    Key("ctrl+s", "save", "save", "Save the target as a preset", "The target", 4, "^s"),
    Key("escape", "back", "back", "Back; asks first if changes are not saved", "Moving", 5, "esc"),
    Key("ctrl+n", "rescale", "rescale", "Rescale the probabilities to sum to 1", "The target", 7, "^n"),
    Key("ctrl+r", "rest", "rest", "Spread the rest evenly, or in proportion to the model's own", "The target", 8, "^r"),
    Key(
        "ctrl+t", "recipe", "recipe", "Switch between rows and a recipe, such as the text before", "The target", 6, "^t"
    ),
    Key("f2", "family", "family", "Choose the family of the target", "The target", 6, "F2"),
    Key(
        "ctrl+o",
        "as_rows",
        "as rows",
        "Turn the recipe into rows; asks first, and shows the change",
        "The target",
        7,
        "^o",
    ),
    Key("ctrl+l", "drop", "drop", "Delete the row, token or part", "The target", 9, "^l"),
    Key("ctrl+z", "undo", "undo", "Undo the last change", "The target", 8, "^z"),
    Key("ctrl+y", "redo", "redo", "Repeat the change that was undone", "The target", 10, "^y"),
    Key("enter", "", "", "Next field; if a row is several tokens: keep the first", "Moving"),
    Key("tab,shift+tab", "", "", "Next or previous field", "Moving", None, "tab"),
    Key("up,down", "", "", "Previous or next row", "Moving", None, "↑ ↓"),
)

RUNS_KEYS = (
    Key("enter", "open", "open", "Open the run", "The run", 0),
    Key("r", "resume", "resume", "Resume a run that was stopped or crashed", "The run", 7),
    Key("x,delete", "delete", "delete", "Delete the run, unless it is running; asks first", "The run", 8, "x"),
    Key("y", "copy", "copy", "Copy the run's prompt, ids, result, command or path", "The run", 9),
    Key("space", "mark", "mark", "Mark the run for comparison", "Several runs", 5),
    Key(
        "c",
        "compare",
        "compare",
        "Compare the marked runs, or the selected run with its other seeds or methods",
        "Several runs",
        6,
    ),
    Key("slash", "find", "find", "Find runs by state, target, model or method", "The list", 4, "/"),
    Key("o", "order", "sort", "Newest first, or by best KL, excess, target, model or state", "The list", 4),
    Key("escape", "back", "back", "Close the find field; then back", "Moving", 4, "esc"),
    Key("up,down", "", "", "Select a run; also j and k", "Moving", None, "↑ ↓"),
)

COMPARE_KEYS = (
    Key("l", "scale", "log", "Logarithmic or linear divergence", "View", 0),
    Key("t", "time", "seconds", "Horizontal axis: steps, or seconds of search", "View", 1),
    Key("escape", "back", "back", "Back", "Moving", 2, "esc"),
    Key("up,down", "", "", "Scroll the differing settings", "Moving", None, "↑ ↓"),
)

_ON_A_SWEEP = (
    Key("r", "run", "start", "Start or resume the sweep in a separate process", "The sweep", 4),
    Key("s", "stop", "stop", "Stop the sweep; asks first, keeps all results", "The sweep", 5),
)

SWEEPS_KEYS = (
    Key("enter", "open", "open", "Open the sweep", "The sweep", 0),
    *_ON_A_SWEEP,
    Key("escape", "back", "back", "Back", "Moving", 4, "esc"),
    Key("up,down", "", "", "Select a sweep; also j and k", "Moving", None, "↑ ↓"),
)

SWEEP_KEYS = (
    Key(
        "left,shift+tab",
        "setting(-1)",
        "",
        "Previous setting: model, method, length",
        "View",
        None,
        "←",
        True,
    ),
    Key("right,tab", "setting(1)", "setting", "Next setting", "View", 0, "→", True, "← →"),
    Key("v", "findings", "findings", "Show the findings in full, or only their effects", "View", 7),
    Key("l", "scale", "log", "Logarithmic or linear divergence", "View", 8),
    *_ON_A_SWEEP,
    Key("w", "log", "output", "Show the output of the sweep's processes", "The sweep", 9),
    Key("escape", "back", "back", "Back; the sweep continues", "Moving", 6, "esc"),
    Key("up,down", "", "", "Scroll the table of points", "Moving", None, "↑ ↓"),
)

SETTINGS_KEYS = (
    Key("right,enter,space", "change(1)", "change", "Next value; applied and saved at once", "Settings", 0, "→"),
    Key("left", "change(-1)", "", "Previous value", "Settings", None, "←"),
    Key("escape", "back", "back", "Back", "Moving", 4, "esc"),
    Key("up,down", "", "", "Select a setting; also j and k", "Moving", None, "↑ ↓"),
)

DOCTOR_KEYS = (
    Key("y", "copy", "copy", "Copy the checks, for a bug report", "The doctor", 0),
    Key("r", "again", "again", "Run the checks again", "The doctor", 1),
    Key("escape", "back", "back", "Back", "Moving", 2, "esc"),
    Key("up,down", "", "", "Scroll", "Moving", None, "↑ ↓"),
)

EDITOR_APP_KEYS = (replace(APP_KEYS[0], symbol="F1"), APP_KEYS[1], replace(APP_KEYS[2], symbol="^q"))
"""Keys of the app on a screen with text fields: only those that are not letters."""


ANYWHERE = "anywhere"

TABLES: dict[str, tuple[Key, ...]] = {
    ANYWHERE: APP_KEYS,
    "run": (*LIVE_KEYS, *HISTORY_KEYS),
    "step": STEP_KEYS,
    "start": START_KEYS,
    "editor": EDITOR_KEYS,
    "runs": RUNS_KEYS,
    "compare": COMPARE_KEYS,
    "sweeps": SWEEPS_KEYS,
    "sweep": SWEEP_KEYS,
    "settings": SETTINGS_KEYS,
    "doctor": DOCTOR_KEYS,
}
"""All tables, by the section of the user's `keys.toml`: one for each screen, and the keys of the app."""

SECTIONS_WITH_FIELDS = frozenset({"editor"})
"""Screens on which a character is typed into a field."""


READ_ONLY = "This app is read-only: it cannot start, pause or stop searches."
"""Message of a disabled key in a read-only app."""


def bindings(section: str, keys: Iterable[Key]) -> list[Binding]:
    """Return the bindings of a table; their ids let the user's own keys replace the defaults."""
    return [
        Binding(
            key.keys,
            key.action,
            key.label or key.help,
            show=False,
            priority=key.priority,
            id=binding_id(section, key),
        )
        for key in keys
        if key.action
    ]


def binding_id(section: str, key: Key) -> str:
    return f"{section}.{key.action}"


def grouped(keys: Iterable[Key]) -> dict[str, list[Key]]:
    groups: dict[str, list[Key]] = {}
    for key in keys:
        groups.setdefault(key.group, []).append(key)
    return groups
