"""Write `keys.md` from the table of keys that the app uses.

python docs/keys.py
"""

from __future__ import annotations

from pathlib import Path

from distprompt_tui.tui import keymap

PAGE = Path(__file__).with_name("keys.md")

SCREENS = {
    "Anywhere": keymap.APP_KEYS,
    "A search": (*keymap.LIVE_KEYS, *keymap.HISTORY_KEYS),
    "A continued prompt": keymap.STEP_KEYS,
    "The start": keymap.START_KEYS,
    "The editor": (*keymap.EDITOR_KEYS, *keymap.EDITOR_APP_KEYS),
    "Runs": keymap.RUNS_KEYS,
    "Compared runs": keymap.COMPARE_KEYS,
    "Sweeps": keymap.SWEEPS_KEYS,
    "A sweep": keymap.SWEEP_KEYS,
    "Settings": keymap.SETTINGS_KEYS,
    "Doctor": keymap.DOCTOR_KEYS,
}


def page() -> str:
    """The page, in Markdown."""
    lines = [
        "# Keys",
        "",
        "Made by `python docs/keys.py` from `distprompt_tui/tui/keymap.py`; in the app, `?` shows them.",
    ]
    for screen, table in SCREENS.items():
        lines += ["", f"## {screen}", "", "| key | what it does |", "| --- | --- |"]
        lines += [f"| `{key.display}` | {key.help} |" for key in table]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
