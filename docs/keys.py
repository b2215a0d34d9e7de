"""Write `keys.md`, every key of the app, from the table that the app itself is bound by.

python docs/keys.py
"""

from __future__ import annotations

from pathlib import Path

from distprompt_tui.tui import keys

PAGE = Path(__file__).with_name("keys.md")

SCREENS = {
    "Anywhere": keys.APP_KEYS,
    "A search": (*keys.LIVE_KEYS, *keys.HISTORY_KEYS),
    "The start": keys.START_KEYS,
    "The editor": (*keys.EDITOR_KEYS, *keys.EDITOR_APP_KEYS),
    "Runs": keys.RUNS_KEYS,
    "Compared runs": keys.COMPARE_KEYS,
    "Sweeps": keys.SWEEPS_KEYS,
    "A sweep": keys.SWEEP_KEYS,
    "Settings": keys.SETTINGS_KEYS,
    "Doctor": keys.DOCTOR_KEYS,
}


def page() -> str:
    """The page, in Markdown."""
    lines = [
        "# Keys",
        "",
        "Made by `python docs/keys.py` from `distprompt_tui/tui/keys.py`; in the app, `?` shows them.",
    ]
    for screen, table in SCREENS.items():
        lines += ["", f"## {screen}", "", "| key | what it does |", "| --- | --- |"]
        lines += [f"| `{key.display}` | {key.help} |" for key in table]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
