"""Specs of new searches from a path: its text as context, or the distribution after it as target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from distprompt_tui.core.config.spec import RunSpec
    from distprompt_tui.tui.run.continuation import Continuation

Use = Literal["prefix", "suffix", "target"]


def spec_from_path(spec: RunSpec, continuation: Continuation, use: Use) -> RunSpec:
    """Return the spec of a search that uses a path.

    Args:
        spec: of the run that the prompt belongs to.
        continuation: after the path; "prefix" and "target" need its text.
        use: "prefix": the text of context, prompt and path comes before the new prompt, and nothing after it.
            "suffix": the path comes after the new prompt and the present suffix. "target": the distribution after the
            text is the target, and the context stays the same.
    """
    from distprompt_tui.core.config.target_specs import Lm

    if use == "suffix":
        suffix = spec.context.suffix + continuation.path_text
        return spec.model_copy(update={"context": spec.context.model_copy(update={"suffix": suffix})})
    assert continuation.text is not None
    if use == "prefix":
        context = spec.context.model_copy(update={"prefix": continuation.text, "suffix": ""})
        return spec.model_copy(update={"context": context})
    unnamed = {"preset": "", "title": "", "description": ""}
    return spec.model_copy(update={"target": Lm(text=continuation.text), **unnamed})
