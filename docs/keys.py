"""Write `keys.md` from the table of keys that the app uses.

python docs/keys.py
"""

from __future__ import annotations

from pathlib import Path

from distprompt_tui.tui import keymap

PAGE = Path(__file__).with_name("keys.md")

TITLES = {
    keymap.ANYWHERE: "Anywhere",
    "run": "A search",
    "step": "A continued prompt",
    "start": "The start",
    "editor": "The editor",
    "runs": "Runs",
    "compare": "Compared runs",
    "sweeps": "Sweeps",
    "sweep": "A sweep",
    "settings": "Settings",
    "doctor": "Doctor",
}


def page() -> str:
    """The page, in Markdown."""
    lines = [
        "# Keys",
        "",
        "Made by `python docs/keys.py` from `distprompt_tui/tui/keymap.py`; in the app, `?` shows them.",
        "`keys.toml` can change the keys of all actions: [usage.md](usage.md#your-own-keys).",
    ]
    for section, table in keymap.TABLES.items():
        lines += [
            "",
            f"## {TITLES[section]}: `[{section}]`",
            "",
            "| key | action | what it does |",
            "| --- | --- | --- |",
        ]
        lines += [f"| `{key.display}` | {f'`{key.action}`' if key.action else ''} | {key.help} |" for key in table]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
