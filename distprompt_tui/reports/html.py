"""Builds HTML and SVG; text that is not `Markup` is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable

VOID = {"meta", "link", "br", "hr", "img"}  # HTML elements without an end tag


class Markup(str):
    """Text that is already HTML or SVG."""

    __slots__ = ()


def element(tag: str, /, *children: str | Iterable[str], **attributes: object) -> Markup:
    """Build an element; children are `Markup`, strings to escape, or iterables of both.

    The attribute `class_` becomes `class`, `stroke_width` becomes `stroke-width`. None omits an attribute. Floats are
    rounded to two decimals.
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
    """Concatenate children; escape those that are not `Markup`."""
    parts = [part for child in children for part in ([child] if isinstance(child, str) else child)]
    return Markup("".join(part if isinstance(part, Markup) else html.escape(part) for part in parts))


def _value(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
