"""Fuzzing inputs: valid ones of each kind, and random edits."""

from __future__ import annotations

import copy
import io
import json
import random
import tomllib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import tomli_w
from safetensors.numpy import save
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from distprompt_tui.core.config import search_specs, spec, target_specs
from distprompt_tui.core.config.paths import shipped_presets_dir
from distprompt_tui.core.config.presets import load_preset
from distprompt_tui.sweeps.directory import Failure
from tests.reports.factories import example_sweep, outcomes

HOSTILE = "\x1b]0;owned\x07\x9b31m\u202e\u2028\ufeff\x7f\r\n"
"""Controls a terminal: an escape, a C1 control, an override of the text direction."""

ODD: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2**31, 2**63, 10**30, 10**400, -0.0, 0.5, -2.5, 1e-320, 3.8e-05, 1e308,
    float("nan"), float("inf"), float("-inf"), "", " ", "a", HOSTILE, "\ud800", "x" * 3000, "id:5", "id:99999999999",
    "../../../../etc/passwd", "/dev/zero", "~nobody/x", "(", "(a+)+$", "a{99999999999}", "(" * 300 + ")" * 300,
    [], {}, [1], [None], [[]], [HOSTILE], {HOSTILE: HOSTILE}, {"family": "uniform"}, {"method": "gcg"},
)  # fmt: skip
"""Possible values of fields in an untrusted file."""

PIECES = (
    b"\x00", b"\xff\xfe", b"\xc3", b"\x1b[2J", "\u202e\x9b".encode(), b"\n", b"\n\n", b'"', b"'", b"{", b"}", b"[",
    b"]", b"[" * 3000, b'{"a":' * 3000, b"=", b"[[", b"#", b",", b"NaN", b"-Infinity", b"1e999", b"9" * 5000, b"\\",
    b"\\ud800", b"\\u001b", b"nan", b"inf", b"0x", b"1979-05-27T07:32:00Z", b"a" * 5000, b"null", b"true",
)  # fmt: skip
"""Bytes to insert anywhere in a file."""


@dataclass(frozen=True)
class Edit:
    """An edit of a file.

    Attributes:
        how: "set", "drop", "add" (of values, before encoding), "insert", "cut", "flip", "double" (of bytes).
        where: position as a fraction of the file's values or bytes, in [0, 1).
        what: index into `ODD` or `PIECES`; length of a cut.
    """

    how: str
    where: float
    what: int


OF_VALUES = ("set", "drop", "add")
OF_BYTES = ("insert", "cut", "flip", "double")


def draw_edits(chance: random.Random) -> list[Edit]:
    """A few edits, mostly of values."""
    hows = chance.choices(OF_VALUES + OF_BYTES, weights=(8, 2, 2, 3, 1, 1, 1), k=chance.choice((1, 1, 1, 2, 3)))
    return [Edit(how, chance.random(), chance.randrange(1 << 16)) for how in hows]


def edited(kind: str, seed: int, edits: list[Edit]) -> bytes:
    """Apply edits, of values first, then of bytes, to a valid input.

    Args:
        kind: a key of `SEEDS`.
        seed: index of the valid input, modulo their number.
        edits: the edits.
    """
    start = SEEDS[kind][seed % len(SEEDS[kind])]
    data = start if isinstance(start, bytes) else _write(kind, _with_values(start, edits))
    for edit in edits:
        if edit.how in OF_BYTES:
            data = _with_bytes(data, edit)
    return data


def _with_values(start: Any, edits: list[Edit]) -> Any:
    value = json.loads(json.dumps(start))
    for edit in edits:
        if edit.how in OF_VALUES:
            places = list(_places(value))
            holder, key = places[min(int(edit.where * len(places)), len(places) - 1)]
            odd = copy.deepcopy(ODD[edit.what % len(ODD)])
            if edit.how == "set":
                holder[key] = odd
            elif edit.how == "drop":
                del holder[key]
            elif isinstance(holder, dict):
                holder[str(odd)[:2000]] = odd
            else:
                holder.append(odd)
        if not list(_places(value)):
            break
    return value


def _places(value: Any) -> Any:
    """Yield every field and element, with its container."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(item, dict | list):
            yield from _places(item)


def _write(kind: str, value: Any) -> bytes:
    if kind in ("preset", "spec", "settings", "sweep"):
        return tomli_w.dumps(_without_null(value)).encode(errors="surrogatepass")
    if kind in ("events", "control", "rows"):
        return b"".join(_json(line) + b"\n" for line in value)
    return _json(value)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="surrogatepass")


def _without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_null(item) for key, item in value.items() if item is not None}
    return [_without_null(item) for item in value if item is not None] if isinstance(value, list) else value


def _with_bytes(data: bytes, edit: Edit) -> bytes:
    at = int(edit.where * len(data))
    match edit.how:
        case "insert":
            return data[:at] + PIECES[edit.what % len(PIECES)] + data[at:]
        case "cut":
            return data[:at] + data[at + 1 + edit.what % 64 :]
        case "flip":
            return data[:at] + bytes([data[at] ^ (1 << edit.what % 8)]) + data[at + 1 :] if data else data
        case _:
            return data + data[at:]


def _made() -> list[spec.RunSpec]:
    searches: tuple[search_specs.SearchSpec, ...] = (
        search_specs.Soft(),
        search_specs.Hard(),
        search_specs.Gcg(),
        search_specs.Hotflip(),
        search_specs.RandomSwaps(),
        search_specs.Exhaustive(),
    )
    targets: tuple[target_specs.TargetSpec, ...] = (
        target_specs.Zipf(entropy=3),
        target_specs.OneHot(token=" a"),
        target_specs.Reachable(),
        target_specs.Shuffled(text="a b"),
        target_specs.Uniform(),
        target_specs.Mixture(parts=(target_specs.MixturePart(weight=1, target=target_specs.Vanilla(entropy=2)),)),
    )
    pairs = zip(targets, searches, strict=True)
    swaps: dict[str, Any] = {
        "init": "text",
        "init_text": "a b",
        "locked": (0,),
        "allow_regex": "a+",
        "allow_tokens": (" a", 5),
    }
    whole = spec.RunSpec(
        target=target_specs.Explicit(probabilities={" a": 0.5}, rest="model", text="a"),
        search=search_specs.Hard(length=3, **swaps),
        budget=spec.Budget(steps=10, seconds=60, until=0.1),
        model=spec.ModelSpec(name="owner/model", revision="main", device="cuda:0"),
        context=spec.Context(prefix="a", suffix="b"),
    )
    return [whole, *(spec.RunSpec(title="a title", target=target, search=search) for target, search in pairs)]


def _specs() -> list[dict[str, Any]]:
    shipped = [load_preset(str(path)).spec for path in sorted(shipped_presets_dir().glob("*.toml"))]
    return [one.model_dump(mode="json", exclude_none=True) for one in shipped + _made()]


def _step(index: int) -> dict[str, Any]:
    return {
        "v": 1, "seq": index, "t": 1e9 + index, "type": "step", "step": index, "kl": 3.0 - index / 10,
        "best_kl": 3.0 - index / 10, "best_step": index, "entropy": 1.5, "seconds": index / 2, "memory": 1000,
        "utilization": 97.5,
    }  # fmt: skip


EVENTS: list[dict[str, Any]] = [
    {"v": 1, "seq": 0, "t": 1e9, "type": "progress", "stage": "model", "text": "loading", "fraction": 0.5},
    {
        "v": 1, "seq": 1, "t": 1e9, "type": "started", "run": "r", "preset": "outlier", "model": "m", "method": "soft",
        "length": 2, "device": "cpu", "dtype": "float32", "vocab_size": 400, "tokenizer_file": "", "recipe": "a",
        "entropy_target": 2.0, "uniform_kl": 4.0, "budget": {"steps": 100, "seconds": 60, "until": 0.1},
    },
    _step(2), _step(3),
    {
        "v": 1, "seq": 4, "t": 1e9, "type": "snapshot", "step": 3, "kl": 2.7, "entropy": 1.5, "reverse_kl": None,
        "js": 0.1, "tv": 0.2, "prompt": [{"id": 1, "text": " a", "cosine": 0.5, "norm": 1.0, "distance": 0.5},
        {"id": 2, "text": "\n", "changed": 2}], "tokens": [[7, " x", 0.5, 0.4, 0.1], [8, "é", 0.1, 0.0, 0.1]],
    },
    {"v": 1, "seq": 5, "t": 1e9, "type": "bounds", "floor": 0.5, "gap": 1e-6, "head_optimum": 1.0, "agreement": 0.9,
     "norm_ratio": 1.0, "why_no_floor": None, "seconds": 3.0},
    {"v": 1, "seq": 6, "t": 1e9, "type": "projection", "step": 3, "ids": [1, 2], "kl": 4.0, "median_distance": 0.5},
    {"v": 1, "seq": 7, "t": 1e9, "type": "control", "command": "pause", "outcome": "paused"},
    {"v": 1, "seq": 8, "t": 1e9, "type": "control", "command": "resume", "outcome": "resumed"},
    {"v": 1, "seq": 9, "t": 1e9, "type": "warning", "text": "careful"},
    {"v": 1, "seq": 10, "t": 1e9, "type": "resumed", "step": 3},
    _step(11),
    {"v": 1, "seq": 12, "t": 1e9, "type": "ended", "reason": "error", "error": "out of memory", "exit_code": 1,
     "result": {"kl": 2.0, "steps": 11, "head_optimum": 1.0, "entropy_achieved": 1.5}},
]  # fmt: skip
"""One event of each type, as written by a worker."""


def _tokenizer() -> dict[str, Any]:
    words = {word: number for number, word in enumerate(("<unk>", " a", "b", "\n", "<0x41>", "東京", "é"))}
    return dict(json.loads(Tokenizer(WordLevel(words, unk_token="<unk>")).to_str()))


def _array(values: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


SWEEPS = sorted((shipped_presets_dir() / "sweeps").glob("*.toml"))
SMALL_SWEEP = example_sweep(methods=["soft"], entropies=[0.5, 3.0, 6.0], targets=2)
OUTCOMES = outcomes(SMALL_SWEEP)
COST = {"method": "soft", "model": "smollm2", "length": 10, "searches": 6, "seconds": 61.0, "peak_bytes": 1 << 30}

SEEDS: dict[str, list[Any]] = {
    "preset": [*_specs(), *(path.read_bytes() for path in sorted(shipped_presets_dir().glob("*.toml")))],
    "spec": _specs(),
    "settings": [{"theme": "distprompt", "updates_per_second": 2.0, "token_order": "probability", "bell": "on"}],
    "sweep": [text for path in SWEEPS for text in (path.read_bytes(), tomllib.loads(path.read_text()))],
    "rows": [[asdict(outcome.row) for outcome in OUTCOMES if outcome.row], [asdict(Failure("k", 2, "why")), COST]],
    "sweep result": [OUTCOMES[0].result],
    "events": [EVENTS, EVENTS[1:5], EVENTS[:4]],
    "newest": [[_step(20), EVENTS[4]]],
    "control": [[{"t": 1.0, "command": command} for command in ("pause", "resume", "stop", "dance")]],
    "prompt.json": [{"ids": [1, 2, 3], "text": " a b"}],
    "prompt.safetensors": [save({"prompt_embeddings": np.ones((3, 4), np.float32)})],
    "target.json": [{" yes": 0.5, "id:3": 0.25}],
    "target.csv": [b'token,mass\n" a",0.5\nid:2,0.25\n'],
    "target.npy": [_array(np.full(7, 1 / 7)), _array(np.full(7, 1 / 7, np.float32))],
    "result.json": [{"kl": 0.5, "steps": 3, "head_optimum": None}],
    "config.json": [{"vocab_size": 7, "model_type": "llama", "text_config": {"vocab_size": 7}, "auto_map": {}}],
    "index.json": [{"metadata": {}, "weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}],
    "tokenizer.json": [_tokenizer()],
}
"""Valid inputs of each kind: values if they are structured, else bytes."""
