"""Rows of the tokens panel: the whole vocabulary from the run's arrays, or only the snapshot's tokens.

Functions import numpy and the tokenizer locally; they run in a thread after the first paint.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from distprompt_tui.core.metrics.totals import Totals, totals_of_rest
from distprompt_tui.runs.schema import Snapshot, TokenMass
from distprompt_tui.runs.state import RunState
from distprompt_tui.tui.run.bar_scale import MAX_LONG_BARS, break_of
from distprompt_tui.tui.run.distribution import Distribution, recorded_distribution
from distprompt_tui.tui.settings import Order

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from distprompt_tui.models.vocabulary import Vocabulary
    from distprompt_tui.runs.directory import RunDirectory

"""`mass` is the maximum of target and achieved."""

DataSource = Literal["newest", "frozen", "snapshot"]
"""The latest distribution on disk; the last one read; the tokens of a snapshot."""

Column: TypeAlias = "Sequence[float] | NDArray[np.float64]"


@dataclass(frozen=True, slots=True)
class TableQuery:
    order: Order = "probability"
    find: str = ""
    pins: frozenset[int] = frozenset()
    source: DataSource = "newest"
    comparison_label: str = "achieved"


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A token's probabilities, achieved − target, and its fraction of the divergence."""

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
    """Sorted and filtered tokens.

    Attributes:
        ids: token ids; the other columns have the same positions.
        target: p of each.
        achieved: q of each.
        contributions: to the divergence, nats (`kl_terms.kl_contributions`).
        kl: sum of the contributions of all tokens, nats.
        text: returns the string of an id, not sanitised.
        total: number of tokens before the filter.
        largest: largest probability in either distribution: the length of a full bar.
        breaks_at: where a linear axis of the bars is broken; None if it is not.
        order: sort key, descending; signed values by magnitude, ties by the gap.
        pinned: number of rows at the top that ignore order and filter.
        complete: whether this is the whole vocabulary, not only the snapshot's tokens.
        outside: totals of the tokens without a row: filtered out, or not in the snapshot.
        comparison_label: name of the distribution beside the target.
        distribution: all known tokens, without order and filter; None without a snapshot.
    """

    ids: list[int] = field(default_factory=list)
    target: Column = ()
    achieved: Column = ()
    contributions: Column = ()
    kl: float | None = None
    text: Callable[[int], str] = str
    total: int = 0
    largest: float = 0.0
    breaks_at: float | None = None
    order: Order = "probability"
    find: str = ""
    pinned: int = 0
    complete: bool = False
    outside: Totals = field(default_factory=Totals)
    comparison_label: str = "achieved"
    distribution: Distribution | None = None

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

    def rest(self, first: int, last: int) -> Totals:
        """Return the totals of all tokens except the rows from `first` to before `last`."""
        return self.outside + self._totals(slice(None, first)) + self._totals(slice(last, None))

    def _totals(self, rows: slice) -> Totals:
        import numpy as np

        columns = [np.asarray(column[rows]) for column in (self.target, self.achieved, self.contributions)]
        if not self.complete:  # tokens that are not in the snapshot are part of `outside`
            known = ~np.isnan(columns[1])
            columns = [column[known] for column in columns]
        return Totals(len(columns[0]), *(float(column.sum()) for column in columns))

    def index_of(self, token: int) -> int | None:
        try:
            return self.ids.index(token)
        except ValueError:
            return None


class TokenSource:
    """Builds token tables of one run. Not thread-safe: one `build` at a time, in a thread.

    Attributes:
        uniform_kl: uniform baseline by metric, available with the target.
    """

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self._vocabulary: Vocabulary | None = None
        self._target: NDArray[np.float64] | None = None
        self._achieved: NDArray[np.float32] | None = None
        self._texts: list[str] | None = None
        self.uniform_kl: dict[str, float] = {}

    def version(self) -> object:
        """Return a value that changes with the latest distribution on disk."""
        try:
            status = self.run.achieved.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino

    def build(self, state: RunState, query: TableQuery) -> TokenTable:
        """Build the table of the latest distribution on disk, or of the state's snapshot if a file is missing."""
        arrays = self._arrays(state, reread=query.source == "newest")
        if query.source != "snapshot" and arrays is not None and self._vocabulary is not None:
            return self._whole(*arrays, query)
        if state.snapshot is None:
            return TokenTable(order=query.order, find=query.find)
        unrecorded = self._unrecorded(state.snapshot, query.pins)
        return from_snapshot(state.snapshot, query, unrecorded, vocab_size=state.vocab_size)

    def _arrays(self, state: RunState, *, reread: bool) -> tuple[NDArray[np.float64], NDArray[np.float32]] | None:
        import numpy as np

        from distprompt_tui.core.metrics.kl_terms import uniform_divergences
        from distprompt_tui.core.storage.npy import read_row

        try:
            if self._vocabulary is None:
                self._vocabulary = _load(state.tokenizer_file, state.vocab_size)
            if self._target is None:
                self._target = read_row(self.run.target)
                self.uniform_kl = uniform_divergences(self._target, state.vocab_size)
            if self._achieved is None or reread:
                self._achieved = read_row(self.run.achieved).astype(np.float32)
        except (OSError, ValueError, EOFError):
            return None
        return (self._target, self._achieved) if self._target.shape == self._achieved.shape else None

    def _unrecorded(self, snapshot: Snapshot, pins: Collection[int]) -> list[TokenMass]:
        """Return pinned tokens that the snapshot does not contain; their achieved probability is unknown."""
        missing = set(pins) - {row.id for row in snapshot.tokens}
        if self._vocabulary is None or self._target is None:
            return []
        known = [token for token in missing if token < len(self._target)]
        return [TokenMass(i, _text(self._vocabulary, i), float(self._target[i]), math.nan, math.nan) for i in known]

    def _whole(self, target: NDArray[np.float64], achieved: NDArray[np.float32], query: TableQuery) -> TokenTable:
        import numpy as np

        from distprompt_tui.core.metrics.kl_terms import kl_contributions

        assert self._vocabulary is not None
        q = achieved.astype(np.float64)
        contributions = kl_contributions(target, achieved)
        gaps, either = np.abs(q - target), np.maximum(target, q)
        count = min(MAX_LONG_BARS + 1, len(either))
        longest = np.sort(np.partition(either, -count)[-count:])[::-1].tolist()
        keys = {
            "probability": either,
            "contribution": contributions,
            "target": target,
            "achieved": q,
            "gap": gaps,
        }
        text, kl = partial(_text, self._vocabulary), float(contributions.sum())
        smallest = float(np.finfo(achieved.dtype).smallest_subnormal)
        ids = np.lexsort((-gaps, -keys[query.order]))
        is_pinned = np.isin(ids, list(query.pins))
        found = self._matches(query.find)[ids] if query.find else np.ones(len(ids), dtype=bool)
        outside = ids[~found & ~is_pinned]
        ids = np.concatenate([ids[is_pinned], ids[found & ~is_pinned]])
        return TokenTable(
            ids=ids.tolist(),
            target=target[ids],
            achieved=q[ids],
            contributions=contributions[ids],
            kl=kl,
            text=text,
            total=len(target),
            largest=float(longest[0]),
            breaks_at=break_of(longest),
            order=query.order,
            find=query.find,
            pinned=int(is_pinned.sum()),
            complete=True,
            outside=Totals(
                len(outside),
                float(target[outside].sum()),
                float(q[outside].sum()),
                float(contributions[outside].sum()),
            ),
            distribution=Distribution(range(len(target)), target, q, contributions, kl, text, smallest),
        )

    def completions(self, prefix: str, limit: int) -> list[tuple[int, str]]:
        """Return ids and strings of tokens that start with `prefix` after an optional space, or match `id:5231`;
        shortest first.
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
        assert self._vocabulary is not None
        if self._texts is None:
            self._texts = [self._vocabulary.text(token).casefold() for token in range(self._vocabulary.size)]
        return self._texts

    def _matches(self, find: str) -> NDArray[np.bool_]:
        """(V,): whether a token's text contains the searched text, or its id is the number."""
        import numpy as np

        texts, sought = self._all_texts(), find.casefold()
        found = np.fromiter((sought in text for text in texts), dtype=bool, count=len(texts))
        if find.isdecimal() and int(find) < len(found):
            found[int(find)] = True
        return found


def from_snapshot(
    snapshot: Snapshot, query: TableQuery, unrecorded: Sequence[TokenMass] = (), *, vocab_size: int = 0
) -> TokenTable:
    """Build a table of the tokens in a snapshot, and of the pinned tokens that it does not contain, `unrecorded`."""
    keys: dict[Order, Callable[[TokenMass], float]] = {
        "probability": lambda row: max(row.target, row.achieved),
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
    longest = sorted((keys["probability"](row) for row in snapshot.tokens), reverse=True)
    return TokenTable(
        ids=[row.id for row in rows],
        target=[row.target for row in rows],
        achieved=[row.achieved for row in rows],
        contributions=[row.contribution for row in rows],
        kl=snapshot.kl,
        text=texts.__getitem__,
        total=len(snapshot.tokens),
        largest=longest[0] if longest else 0.0,
        breaks_at=break_of(longest),
        order=query.order,
        find=query.find,
        pinned=len(pinned),
        outside=totals_of_rest(vocab_size, snapshot.kl, ((row.target, row.achieved, row.contribution) for row in rows)),
        comparison_label=query.comparison_label,
        distribution=recorded_distribution(snapshot, vocab_size, query.comparison_label),
    )


def _is_sought(row: TokenMass, find: str) -> bool:
    return not find or find.casefold() in row.text.casefold() or find == str(row.id)


def _text(vocabulary: Vocabulary, token: int) -> str:
    """Return a token's string; part of a character is written as its bytes, to distinguish it from others."""
    text = vocabulary.text(token)
    raw = vocabulary.token_bytes(token) if "\ufffd" in text else None
    return raw.decode("utf-8", errors="backslashreplace") if raw else text


def _load(tokenizer_file: str, size: int) -> Vocabulary:
    from distprompt_tui.core.errors import ModelError
    from distprompt_tui.models.vocabulary import load_vocabulary

    if not tokenizer_file:
        raise FileNotFoundError(2, "the run has not recorded its tokenizer's path yet", "tokenizer.json")
    path = Path(tokenizer_file)
    try:
        return load_vocabulary(path.parent if path.name == "tokenizer.json" else path, size)
    except ModelError as error:
        raise ValueError(str(error)) from error
