"""The encoding of the user's terminal, by the locale that the user set."""

from __future__ import annotations

import locale
import os
import sys

_COERCED = ("C.UTF-8", "C.utf8", "UTF-8")
"""What Python sets LC_CTYPE to, before a program starts, where the locale is C or is not installed (PEP 538)."""


def terminal_encoding() -> str:
    """The encoding that LC_ALL, LC_CTYPE or LANG names; "ASCII" where they name none.

    Python's own answer is UTF-8 for the locale C (PEP 538 and 540), whose terminal may be of any kind.
    """
    names = [os.environ.get(name, "") for name in ("LC_ALL", "LC_CTYPE", "LANG")]
    is_forced = "PYTHONUTF8" in os.environ
    is_coerced = bool(sys.flags.utf8_mode) and not is_forced and not names[0] and names[1] in _COERCED
    if is_coerced:
        names[1] = ""
    name = next(filter(None, names), "C")
    _, dot, encoding = name.partition("@")[0].partition(".")
    if dot:
        return encoding
    if name in ("C", "POSIX") or sys.flags.utf8_mode:  # in this mode by itself: the locale is not installed
        return "ASCII"
    return locale.nl_langinfo(locale.CODESET)


def locale_is_utf8() -> bool:
    """Whether the user's locale can show more than ASCII."""
    return terminal_encoding().lower().replace("-", "") == "utf8"
