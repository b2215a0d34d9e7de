"""The tokens panel's rows: the whole vocabulary from the run's arrays, or the snapshot's tokens without them.

numpy and the tokenizer are imported inside the functions, which run in a thread after the first paint.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from distprompt_tui.runs.schema import Snapshot, TokenMass
from distprompt_tui.runs.state import RunState
from distprompt_tui.tui.settings import Order

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from distprompt_tui.models.vocabulary import Vocabulary
    from distprompt_tui.runs.directory import RunDirectory

"""`mass` is the larger of target and achieved: what either of them holds much of comes first."""

DataSource = Literal["newest", "frozen", "snapshot"]
"""The distribution on disk; the one that was read from there last; the tokens of a snapshot."""

Column: TypeAlias = "Sequence[float] | NDArray[np.float64]"


@dataclass(frozen=True, slots=True)
class TableQuery:
    """Order, filter, pinned tokens and distribution of a table."""

    order: Order = "mass"
    find: str = ""
    pins: frozenset[int] = frozenset()
    source: DataSource = "newest"
    comparison_label: str = "achieved"


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One token: masses, achieved − target, and its part of the divergence as a fraction of the whole."""

    id: int
    text: str
    target: float
    achieved: float
    contribution: float | None
    is_pinned: bool = False

    @property
    def gap(self) -> float:
        return self.achieved - self.target


@dataclass(frozen=True, eq=False)
class TokenTable:
    """Tokens in the order asked for.

    Attributes:
        ids: token ids, sorted and filtered; each other column is indexed by the same position.
        target: p of each.
        achieved: q of each.
        contributions: of the divergence, of each in nats (`kl_terms.kl_contributions`).
        kl: the divergence that the tokens contribute to, nats.
        text: the string of an id, not yet safe for a terminal.
        total: tokens before the filter.
        largest: the largest mass of any token in either distribution: the length of a full bar.
        order: what the rows are sorted by, largest first; by size where there are signs, ties by the gap.
        pinned: so many rows at the top stand there in every order and with every filter.
        complete: whether this is the whole vocabulary; False: the snapshot's tokens only.
        comparison_label: name of the distribution beside the target.
    """

    ids: list[int] = field(default_factory=list)
    target: Column = ()
    achieved: Column = ()
    contributions: Column = ()
    kl: float | None = None
    text: Callable[[int], str] = str
    total: int = 0
    largest: float = 0.0
    order: Order = "mass"
    find: str = ""
    pinned: int = 0
    complete: bool = False
    comparison_label: str = "achieved"

    def __len__(self) -> int:
        return len(self.ids)

    def row(self, index: int) -> TokenRow:
        token = int(self.ids[index])
        contribution = float(self.contributions[index])
        return TokenRow(
            token,
            self.text(token),
            float(self.target[index]),
            float(self.achieved[index]),
            contribution / self.kl if self.kl else None,
            index < self.pinned,
        )

    def index_of(self, token: int) -> int | None:
        """The position of a token, None where the filter left it out."""
        try:
            return self.ids.index(token)
        except ValueError:
            return None


class TokenSource:
    """Builds token tables of one run. Not thread-safe: one `build` at a time, in a thread.

    Attributes:
        uniform_kl: divergences of the uniform distribution, known as soon as the target is.
        why_incomplete: why only the snapshot's tokens are in a table; empty where the whole vocabulary is.
    """

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self._vocabulary: Vocabulary | None = None
        self._target: NDArray[np.float64] | None = None
        self._achieved: NDArray[np.float32] | None = None
        self._texts: list[str] | None = None
        self.why_incomplete = ""
        self.uniform_kl: dict[str, float] = {}

    def version(self) -> object:
        """Changes when the newest distribution on disk does."""
        try:
            status = self.run.achieved.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino

    def build(self, state: RunState, query: TableQuery) -> TokenTable:
        """The table of the newest distribution on disk, or of the state's snapshot where a file is missing."""
        arrays = self._arrays(state, reread=query.source == "newest")
        if query.source != "snapshot" and arrays is not None and self._vocabulary is not None:
            return self._whole(*arrays, query)
        if state.snapshot is None:
            return TokenTable(order=query.order, find=query.find)
        return from_snapshot(state.snapshot, query, self._unrecorded(state.snapshot, query.pins))

    def _arrays(self, state: RunState, *, reread: bool) -> tuple[NDArray[np.float64], NDArray[np.float32]] | None:
        import numpy as np

        from distprompt_tui.metrics.kl_terms import uniform_divergences
        from distprompt_tui.storage.npy import read_row

        try:
            if self._vocabulary is None:
                self._vocabulary = _load(state.tokenizer_file, state.vocab_size)
            if self._target is None:
                self._target = read_row(self.run.target)
                self.uniform_kl = uniform_divergences(self._target, state.vocab_size)
            if self._achieved is None or reread:
                self._achieved = read_row(self.run.achieved).astype(np.float32)
        except (OSError, ValueError, EOFError) as error:
            self.why_incomplete = f"only the largest tokens: {_reason(error)}"
            return None
        if self._target.shape != self._achieved.shape:
            self.why_incomplete = "only the largest tokens: target.npy and achieved.npy do not belong together"
            return None
        self.why_incomplete = ""
        return self._target, self._achieved

    def _unrecorded(self, snapshot: Snapshot, pins: Collection[int]) -> list[TokenMass]:
        """Pinned tokens that a snapshot does not name: how much was achieved on them is not known."""
        missing = set(pins) - {row.id for row in snapshot.tokens}
        if self._vocabulary is None or self._target is None:
            return []
        known = [token for token in missing if token < len(self._target)]
        return [TokenMass(i, _text(self._vocabulary, i), float(self._target[i]), math.nan, math.nan) for i in known]

    def _whole(self, target: NDArray[np.float64], achieved: NDArray[np.float32], query: TableQuery) -> TokenTable:
        import numpy as np

        from distprompt_tui.metrics.kl_terms import kl_contributions

        assert self._vocabulary is not None
        q = achieved.astype(np.float64)
        contributions = kl_contributions(target, achieved)
        gaps = np.abs(q - target)
        keys = {
            "mass": np.maximum(target, q),
            "contribution": contributions,
            "target": target,
            "achieved": q,
            "gap": gaps,
        }
        ids = np.lexsort((-gaps, -keys[query.order]))
        is_pinned = np.isin(ids, list(query.pins))
        found = self._matches(query.find)[ids] if query.find else np.ones(len(ids), dtype=bool)
        ids = np.concatenate([ids[is_pinned], ids[found & ~is_pinned]])
        return TokenTable(
            ids=ids.tolist(),
            target=target[ids],
            achieved=q[ids],
            contributions=contributions[ids],
            kl=float(contributions.sum()),
            text=partial(_text, self._vocabulary),
            total=len(target),
            largest=float(max(target.max(), q.max())),
            order=query.order,
            find=query.find,
            pinned=int(is_pinned.sum()),
            complete=True,
        )

    def completions(self, prefix: str, limit: int) -> list[tuple[int, str]]:
        """Ids and strings of tokens that begin with a prefix, after an optional space; the shortest first.

        Args:
            prefix: a token's beginning, or `id:5231`.
            limit: the largest number of tokens.
        """
        if self._vocabulary is None or not prefix:
            return []
        if (number := prefix.removeprefix("id:")) != prefix:
            known = number.isdecimal() and int(number) < self._vocabulary.size
            return [(int(number), _text(self._vocabulary, int(number)))] if known else []
        sought = prefix.casefold()
        fitting = [i for i, text in enumerate(self._all_texts()) if text.startswith((sought, f" {sought}"))]
        texts = {i: _text(self._vocabulary, i) for i in fitting}
        ranked = sorted(fitting, key=lambda i: (not texts[i].startswith(prefix), len(texts[i]), i))
        return [(i, texts[i]) for i in ranked[:limit]]

    def _all_texts(self) -> list[str]:
        """Every token's string, without its capitals."""
        assert self._vocabulary is not None
        if self._texts is None:
            self._texts = [self._vocabulary.text(token).casefold() for token in range(self._vocabulary.size)]
        return self._texts

    def _matches(self, find: str) -> NDArray[np.bool_]:
        """(V,): whether a token's text holds the words sought, or its id is the number."""
        import numpy as np

        texts, sought = self._all_texts(), find.casefold()
        found = np.fromiter((sought in text for text in texts), dtype=bool, count=len(texts))
        if find.isdecimal() and int(find) < len(found):
            found[int(find)] = True
        return found


def from_snapshot(snapshot: Snapshot, query: TableQuery, unrecorded: Sequence[TokenMass] = ()) -> TokenTable:
    """A table of the tokens that a snapshot names.

    Args:
        snapshot: of one moment.
        query: how to sort and filter them.
        unrecorded: pinned tokens that it does not name.
    """
    keys: dict[Order, Callable[[TokenMass], float]] = {
        "mass": lambda row: max(row.target, row.achieved),
        "contribution": lambda row: row.contribution,
        "target": lambda row: row.target,
        "achieved": lambda row: row.achieved,
        "gap": lambda row: abs(row.achieved - row.target),
    }
    ranked = sorted(snapshot.tokens, key=lambda row: (keys[query.order](row), keys["gap"](row)), reverse=True)
    pinned = [row for row in ranked if row.id in query.pins] + list(unrecorded)
    found = [row for row in ranked if row.id not in query.pins and _is_sought(row, query.find)]
    rows = pinned + found
    texts = {row.id: row.text for row in rows}
    return TokenTable(
        ids=[row.id for row in rows],
        target=[row.target for row in rows],
        achieved=[row.achieved for row in rows],
        contributions=[row.contribution for row in rows],
        kl=snapshot.kl,
        text=texts.__getitem__,
        total=len(snapshot.tokens),
        largest=max((max(row.target, row.achieved) for row in snapshot.tokens), default=0.0),
        order=query.order,
        find=query.find,
        pinned=len(pinned),
        comparison_label=query.comparison_label,
    )


def _is_sought(row: TokenMass, find: str) -> bool:
    return not find or find.casefold() in row.text.casefold() or find == str(row.id)


def _text(vocabulary: Vocabulary, token: int) -> str:
    """A token's string; one that is a piece of a character is written as its bytes, to be told from the others."""
    text = vocabulary.text(token)
    raw = vocabulary.token_bytes(token) if "\ufffd" in text else None
    return raw.decode("utf-8", errors="backslashreplace") if raw else text


def _load(tokenizer_file: str, size: int) -> Vocabulary:
    from distprompt_tui.errors import ModelError
    from distprompt_tui.models.vocabulary import load_vocabulary

    if not tokenizer_file:
        raise FileNotFoundError(2, "the run has not said yet where its tokenizer is", "tokenizer.json")
    path = Path(tokenizer_file)
    try:
        return load_vocabulary(path.parent if path.name == "tokenizer.json" else path, size)
    except ModelError as error:
        raise ValueError(str(error)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{Path(str(error.filename)).name} is not there yet"
    return str(error).splitlines()[0] if str(error) else type(error).__name__
