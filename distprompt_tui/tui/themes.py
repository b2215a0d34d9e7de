"""The app's themes and its semantic colours, one variable each."""

from __future__ import annotations

from textual.color import Color
from textual.theme import Theme

DARK = "distprompt-dark"
LIGHT = "distprompt-light"
SIXTEEN_COLORS = "ansi-dark"  # textual's theme of the terminal's 16 colours

MEANINGS_DARK = {"target": "#e6b450", "achieved": "#5fb0f0", "agreed": "#7f93a8"}
MEANINGS_LIGHT = {"target": "#9a6200", "achieved": "#0a62c4", "agreed": "#6b7683"}
MEANINGS_ANSI = {"target": "ansi_yellow", "achieved": "ansi_cyan", "agreed": "ansi_default"}
"""Amber and blue differ for all kinds of colour vision, also when rounded to 16 colours."""

SERIES_DARK = ("#4fc3b0", "#e08fc0", "#b5cf5a", "#a99bf0", "#ef8a62", "#d0d7de")
SERIES_LIGHT = ("#00796b", "#a8327f", "#5c7a00", "#5a4fc0", "#b3461c", "#3c444d")
SERIES_ANSI = ("ansi_green", "ansi_magenta", "ansi_red", "ansi_bright_blue", "ansi_bright_green", "ansi_default")
"""Colours of compared runs, different from target and achieved. A digit repeats the information."""

THEMES = (
    Theme(
        name=DARK,
        primary="#5fb0f0",
        secondary="#7f93a8",
        accent="#8fd0a0",
        foreground="#c8d0d9",
        background="#0f1318",
        surface="#141a21",
        panel="#1c242d",
        success="#8fd0a0",
        warning="#e6b450",
        error="#ef7f7f",
        variables={
            "border": "#5fb0f0",
            "border-blurred": "#2b3641",
            "block-cursor-background": "#223345",
            "block-cursor-foreground": "#e8eef4",
            "block-cursor-text-style": "bold",
            "block-cursor-blurred-background": "#1a222b",
            "block-cursor-blurred-foreground": "#c8d0d9",
            "block-hover-background": "#1a222b",
            "scrollbar": "#33414e",
            "scrollbar-hover": "#435463",
            "scrollbar-active": "#5fb0f0",
            "scrollbar-background": "#0f1318",
            "scrollbar-background-hover": "#0f1318",
            "scrollbar-background-active": "#0f1318",
            "scrollbar-corner-color": "#0f1318",
            "input-cursor-background": "#c8d0d9",
            "input-selection-background": "#5fb0f0 30%",
        },
    ),
    Theme(
        name=LIGHT,
        primary="#0a62c4",
        secondary="#6b7683",
        accent="#1a7f4b",
        foreground="#24292f",
        background="#fbfaf7",
        surface="#f3f1ec",
        panel="#e9e6df",
        success="#1a7f4b",
        warning="#9a6200",
        error="#c4302b",
        dark=False,
        variables={
            "border": "#0a62c4",
            "border-blurred": "#cfcabf",
            "block-cursor-background": "#d7e5f5",
            "block-cursor-foreground": "#10151a",
            "block-cursor-text-style": "bold",
            "block-cursor-blurred-background": "#ece9e2",
            "block-cursor-blurred-foreground": "#24292f",
            "block-hover-background": "#ece9e2",
            "scrollbar": "#c5c0b4",
            "scrollbar-hover": "#aaa497",
            "scrollbar-background": "#fbfaf7",
            "scrollbar-background-hover": "#fbfaf7",
            "scrollbar-background-active": "#fbfaf7",
            "scrollbar-corner-color": "#fbfaf7",
            "input-cursor-background": "#24292f",
            "input-selection-background": "#0a62c4 25%",
        },
    ),
)


def semantic_variables(theme: Theme) -> dict[str, str]:
    """Return the style variables that Textual's themes lack.

    Args:
        theme: any theme, ours or a built-in one.

    Returns:
        `target`, `achieved`, `agreed` (the part of a bar that both reach), `quiet` (labels), `faint` (rules, scales),
            `series-1` to `series-6` (compared runs), and `row-cursor`, the background of the selected row. Bars keep
            their colours on it, so it is empty with 16 colours.
    """
    if theme.ansi:
        plain = {"quiet": "ansi_default", "faint": "ansi_bright_black"}
        plain |= _numbered(SERIES_ANSI)
        return MEANINGS_ANSI | plain | {"row-cursor": "ansi_default", "row-cursor-blurred": "ansi_default"}
    colors = theme.to_color_system()
    background = colors.background or Color.parse("#121212" if theme.dark else "#efefef")
    foreground = colors.foreground or background.inverse
    shades = {
        "quiet": background.blend(foreground, 0.62).hex,
        "faint": background.blend(foreground, 0.32).hex,
        "row-cursor": background.blend(colors.primary, 0.22).hex,
        "row-cursor-blurred": background.blend(foreground, 0.08).hex,
    }
    series = _numbered(SERIES_DARK if theme.dark else SERIES_LIGHT)
    return (MEANINGS_DARK if theme.dark else MEANINGS_LIGHT) | shades | series


def _numbered(colours: tuple[str, ...]) -> dict[str, str]:
    return {f"series-{number}": colour for number, colour in enumerate(colours, start=1)}
