"""HTML and SVG from functions: what is not markup already is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable

VOID = {"meta", "link", "br", "hr", "img"}
"""Elements that HTML knows without an end."""


class Markup(str):
    """Text that is HTML or SVG already."""

    __slots__ = ()


def element(tag: str, /, *children: str | Iterable[str], **attributes: object) -> Markup:
    """An element.

    Args:
        tag: its name.
        children: `Markup` goes in as it is, any other string escaped; iterables are laid out.
        attributes: `class_` is `class`, `stroke_width` is `stroke-width`; None leaves one out, numbers are rounded.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(_value(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if tag in VOID:
        return Markup(f"<{tag}{given}>")
    return Markup(f"<{tag}{given}>{join(*children)}</{tag}>")


def join(*children: str | Iterable[str]) -> Markup:
    """Children one after the other, escaped where they are no markup."""
    parts = [part for child in children for part in ([child] if isinstance(child, str) else child)]
    return Markup("".join(part if isinstance(part, Markup) else html.escape(part) for part in parts))


def _value(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
