"""Panels of the live screen: hidden, shown again, or one of them on the whole screen."""

from __future__ import annotations

from textual.screen import Screen

PANELS = ("plot", "gauges", "prompt", "tokens")


def toggle_panel(screen: Screen[None], name: str) -> None:
    """Show or hide a panel; the last one stays."""
    panel = screen.query_one(f"#{name}")
    hidden = {other: screen.query_one(f"#{other}").has_class("-hidden") for other in PANELS}
    if hidden[name] or list(hidden.values()).count(False) > 1:
        panel.toggle_class("-hidden")
        hidden[name] = not hidden[name]
        screen.query_one("#side").set_class(all(hidden[other] for other in PANELS[:-1]), "-hidden")


def toggle_zoom(screen: Screen[None]) -> None:
    """The panel in focus on the whole screen, and back."""
    zoom = not screen.has_class("-zoomed")
    focused = [name for name in PANELS if screen.query_one(f"#{name}").has_focus_within]
    chosen = focused[0] if focused else "tokens"
    for name in (*PANELS, "side"):
        kept = name == chosen or (name == "side" and chosen != "tokens")
        screen.query_one(f"#{name}").set_class(zoom and kept, "-kept").set_class(zoom and not kept, "-unzoomed")
    screen.set_class(zoom, "-zoomed")


def reset_panels(screen: Screen[None]) -> None:
    """All panels as they were."""
    if screen.has_class("-zoomed"):
        toggle_zoom(screen)
    for name in (*PANELS, "side"):
        screen.query_one(f"#{name}").remove_class("-hidden")
