"""Find impossible targets in the fields of a preset, without loading a model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distprompt_tui.core.config.known_models import absolute_name
from distprompt_tui.core.config.spec import ModelSpec
from distprompt_tui.core.config.target_specs import SUM_TOLERANCE, Explicit
from distprompt_tui.core.errors import DistPromptError
from distprompt_tui.core.storage.legacy import with_new_spec_names
from distprompt_tui.core.storage.safe_io import absolute, is_file
from distprompt_tui.models.registry import find_model

Mistake = tuple[list[str], str]  # the path of a field, and what is wrong with its value


def impossible(fields: dict[str, Any], folder: Path) -> list[Mistake]:
    """Return the mistakes of a target that is impossible for every model, or for the spec's model.

    Args:
        fields: those of a spec, which may have other mistakes; values of the wrong type are ignored.
        folder: where relative paths start.
    """
    model = fields.get("model", {})
    name = model.get("name", ModelSpec().name) if isinstance(model, dict) else None
    if not isinstance(name, str):
        return list(_impossible_target(fields.get("target"), ["target"], None, folder))
    try:
        rows, unknown = find_model(absolute_name(name, folder)).vocab_size, []
    except DistPromptError as error:
        rows, unknown = None, [(["model", "name"], str(error))]
    return [*_impossible_target(fields.get("target"), ["target"], rows, folder), *unknown]


def _impossible_target(target: Any, where: list[str], rows: int | None, folder: Path) -> Iterator[Mistake]:
    if not isinstance(target, dict):
        return
    target = with_new_spec_names(target, Explicit.model_fields)
    if target.get("family") == "mixture":
        parts = target.get("parts")
        for index, part in enumerate(parts if isinstance(parts, list) else ()):
            if isinstance(part, dict):
                yield from _impossible_target(part.get("target"), [*where, "parts", str(index), "target"], rows, folder)
        return
    probabilities, file, entropy = target.get("probabilities"), target.get("file"), target.get("entropy")
    if isinstance(probabilities, dict):
        total = math.fsum(value for value in probabilities.values() if _is_number(value))
        if total > 1 + SUM_TOLERANCE:
            yield [*where, "probabilities"], f"they sum to {total:.10g}, more than 1"
    if isinstance(file, str) and not is_file(Path(absolute(file, folder))):
        yield [*where, "file"], f"there is no file {file}"
    if rows is not None and _is_number(entropy) and entropy > math.log(rows):
        most = f"{math.log(rows):.3f}, that of a uniform distribution over {rows:,} tokens"
        yield [*where, "entropy"], f"{entropy:g} nats are more than {most}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
