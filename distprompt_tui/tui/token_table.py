"""The tokens panel's rows: the whole vocabulary from the run's arrays, or the snapshot's tokens without them.

numpy and the tokenizer are imported inside the functions, which run in a thread after the first paint.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from distprompt_tui.runs.state import RunState, Snapshot, TokenMass

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from distprompt_tui.runs.directory import RunDirectory
    from distprompt_tui.vocabulary import Vocabulary

Order = Literal["mass", "share", "target", "achieved", "gap"]
ORDERS: tuple[Order, ...] = ("mass", "share", "target", "achieved", "gap")
"""`mass` is the larger of target and achieved: what either of them holds much of comes first."""

Column: TypeAlias = "Sequence[float] | NDArray[np.float64]"


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One token: masses, achieved − target, and its part of the divergence as a fraction of the whole."""

    id: int
    text: str
    target: float
    achieved: float
    share: float | None

    @property
    def gap(self) -> float:
        """Achieved − target."""
        return self.achieved - self.target


@dataclass(frozen=True, eq=False)
class TokenTable:
    """Tokens in the order asked for.

    Attributes:
        ids: token ids, sorted and filtered; each other column is indexed by the same position.
        target: p of each.
        achieved: q of each.
        shares: of the divergence, of each in nats (`shares.kl_shares`).
        kl: the divergence that the shares are parts of, nats.
        text: the string of an id, not yet safe for a terminal.
        total: tokens before the filter.
        largest: the largest mass of any token in either distribution: the length of a full bar.
        order: what the rows are sorted by, largest first; by size where there are signs, ties by the gap.
        complete: whether this is the whole vocabulary; False: the snapshot's tokens only.
    """

    ids: list[int] = field(default_factory=list)
    target: Column = ()
    achieved: Column = ()
    shares: Column = ()
    kl: float | None = None
    text: Callable[[int], str] = str
    total: int = 0
    largest: float = 0.0
    order: Order = "mass"
    find: str = ""
    complete: bool = False
    version: object = None

    def __len__(self) -> int:
        return len(self.ids)

    def row(self, index: int) -> TokenRow:
        """The row at a position."""
        token = int(self.ids[index])
        share = float(self.shares[index])
        return TokenRow(
            token,
            self.text(token),
            float(self.target[index]),
            float(self.achieved[index]),
            share / self.kl if self.kl else None,
        )

    def index_of(self, token: int) -> int | None:
        """The position of a token, None where the filter left it out."""
        try:
            return self.ids.index(token)
        except ValueError:
            return None


class TokenSource:
    """Builds token tables of one run. Not thread-safe: one `build` at a time, in a thread."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        self._vocabulary: Vocabulary | None = None
        self._target: NDArray[np.float64] | None = None
        self._texts: list[str] | None = None
        self._why_incomplete = ""

    @property
    def why_incomplete(self) -> str:
        """Why only the snapshot's tokens are shown; empty when the whole vocabulary is."""
        return self._why_incomplete

    def version(self) -> object:
        """Changes when the newest distribution on disk does."""
        try:
            status = self.run.achieved.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino

    def build(self, state: RunState, order: Order, find: str) -> TokenTable:
        """The table of the newest distribution on disk, or of the state's snapshot where a file is missing."""
        version = self.version()
        arrays = self._arrays(state)
        if arrays is not None and self._vocabulary is not None:
            return self._whole(*arrays, order, find, version)
        if state.snapshot is None:
            return TokenTable(order=order, find=find)
        return from_snapshot(state.snapshot, order, find)

    def _arrays(self, state: RunState) -> tuple[NDArray[np.float64], NDArray[np.float32]] | None:
        import numpy as np

        try:
            if self._vocabulary is None:
                self._vocabulary = _load(state.tokenizer_file, state.vocab_size)
            if self._target is None:
                self._target = np.load(self.run.target, allow_pickle=False)
            achieved = np.load(self.run.achieved, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            self._why_incomplete = f"only the largest tokens: {_reason(error)}"
            return None
        if self._target.shape != achieved.shape:
            self._why_incomplete = "only the largest tokens: target.npy and achieved.npy do not belong together"
            return None
        self._why_incomplete = ""
        return self._target, achieved

    def _whole(
        self, target: NDArray[np.float64], achieved: NDArray[np.float32], order: Order, find: str, version: object
    ) -> TokenTable:
        import numpy as np

        from distprompt_tui.shares import kl_shares

        assert self._vocabulary is not None
        q = achieved.astype(np.float64)
        shares = kl_shares(target, q)
        gaps = np.abs(q - target)
        keys = {"mass": np.maximum(target, q), "share": shares, "target": target, "achieved": q, "gap": gaps}
        ids = np.lexsort((-gaps, -keys[order]))
        if find:
            ids = ids[self._matches(find)[ids]]
        return TokenTable(
            ids=ids.tolist(),
            target=target[ids],
            achieved=q[ids],
            shares=shares[ids],
            kl=float(shares.sum()),
            text=partial(_text, self._vocabulary),
            total=len(target),
            largest=float(max(target.max(), q.max())),
            order=order,
            find=find,
            complete=True,
            version=version,
        )

    def _matches(self, find: str) -> NDArray[np.bool_]:
        """(V,): whether a token's text holds the words sought, or its id is the number."""
        import numpy as np

        assert self._vocabulary is not None
        if self._texts is None:
            self._texts = [self._vocabulary.text(token).casefold() for token in range(self._vocabulary.size)]
        sought = find.casefold()
        found = np.fromiter((sought in text for text in self._texts), dtype=bool, count=len(self._texts))
        if find.isdecimal() and int(find) < len(found):
            found[int(find)] = True
        return found


def from_snapshot(snapshot: Snapshot, order: Order, find: str) -> TokenTable:
    """A table of the tokens that a snapshot names."""
    keys: dict[Order, Callable[[TokenMass], float]] = {
        "mass": lambda row: max(row.target, row.achieved),
        "share": lambda row: row.share,
        "target": lambda row: row.target,
        "achieved": lambda row: row.achieved,
        "gap": lambda row: abs(row.achieved - row.target),
    }
    rows = sorted(snapshot.tokens, key=lambda row: (keys[order](row), keys["gap"](row)), reverse=True)
    if find:
        rows = [row for row in rows if find.casefold() in row.text.casefold() or find == str(row.id)]
    texts = {row.id: row.text for row in rows}
    return TokenTable(
        ids=[row.id for row in rows],
        target=[row.target for row in rows],
        achieved=[row.achieved for row in rows],
        shares=[row.share for row in rows],
        kl=snapshot.kl,
        text=texts.__getitem__,
        total=len(snapshot.tokens),
        largest=max((max(row.target, row.achieved) for row in snapshot.tokens), default=0.0),
        order=order,
        find=find,
        version=snapshot.step,
    )


def _text(vocabulary: Vocabulary, token: int) -> str:
    """A token's string; one that is a piece of a character is written as its bytes, to be told from the others."""
    text = vocabulary.text(token)
    raw = vocabulary.token_bytes(token) if "\ufffd" in text else None
    return raw.decode("utf-8", errors="backslashreplace") if raw else text


def _load(tokenizer_file: str, size: int) -> Vocabulary:
    from distprompt_tui.errors import ModelError
    from distprompt_tui.vocabulary import load_vocabulary

    if not tokenizer_file:
        raise FileNotFoundError(2, "the run has not said yet where its tokenizer is", "tokenizer.json")
    path = Path(tokenizer_file)
    try:
        return load_vocabulary(path.parent if path.name == "tokenizer.json" else path, size)
    except ModelError as error:
        raise ValueError(str(error)) from error
    except Exception as error:  # the tokenizers library raises bare Exceptions on damaged files
        raise ValueError(f"{path} cannot be read: {error}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{Path(str(error.filename)).name} is not there yet"
    return str(error).splitlines()[0] if str(error) else type(error).__name__
