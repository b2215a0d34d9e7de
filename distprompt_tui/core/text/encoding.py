"""The encoding of the user's terminal, from the locale variables."""

from __future__ import annotations

import locale
import os
import sys

_COERCED = ("C.UTF-8", "C.utf8", "UTF-8")
"""Values that Python sets LC_CTYPE to at start-up if the locale is C or not installed (PEP 538)."""


def terminal_encoding() -> str:
    """Return the encoding set by LC_ALL, LC_CTYPE or LANG, "ASCII" if none is set.

    Python reports UTF-8 for the locale C (PEP 538 and 540), although the terminal may not support it.
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
    if name in ("C", "POSIX") or sys.flags.utf8_mode:  # Python chose UTF-8 mode: the locale is not installed
        return "ASCII"
    return locale.nl_langinfo(locale.CODESET)


def locale_is_utf8() -> bool:
    return terminal_encoding().lower().replace("-", "") == "utf8"
