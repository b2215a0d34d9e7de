"""The hard search: exact scores, and what it does where no swap helps."""

from __future__ import annotations

import pytest
import torch

from distprompt_tui.divergence import forward_kl
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.search.candidates import in_pairs
from distprompt_tui.search.hard import HardSearch
from distprompt_tui.search.protocol import HardPrompt
from distprompt_tui.search.retokenise import surviving
from distprompt_tui.spec import Hard
from tests.search.targets import outlier_target

SETTINGS = Hard(length=4, width=16, top_k=32, bank=24)


def search(model: LanguageModel, settings: Hard = SETTINGS, steps: int = 12) -> HardSearch:
    """A search on the outlier target."""
    return HardSearch(model, outlier_target(model), settings, steps, seed=0)


def current(found: HardSearch) -> torch.Tensor:
    """The current prompt's ids."""
    prompt, _ = found.current
    assert isinstance(prompt, HardPrompt)
    return prompt.ids


def test_without_patience_the_prompt_only_changes_for_a_better_one(tiny_model: LanguageModel) -> None:
    found = search(tiny_model, SETTINGS.model_copy(update={"patience": 0}), steps=20)
    kls = [step.kls[-1] for step in found.steps()]
    assert kls == sorted(kls, reverse=True)
    assert kls[-1] < kls[0]


def test_scores_are_the_derivative_by_one_hot_rows(tiny_model: LanguageModel) -> None:
    """(E_v − E_current) · gradient, against autograd through an explicit one-hot matrix."""
    found = search(tiny_model, steps=0)
    list(found.steps())
    ids = current(found)
    one_hot = torch.nn.functional.one_hot(ids, tiny_model.vocab_size).float().requires_grad_()
    logits = tiny_model.next_token_logits((one_hot @ tiny_model.embedding_matrix)[None])
    forward_kl(outlier_target(tiny_model), logits).sum().backward()
    assert one_hot.grad is not None
    expected = one_hot.grad - one_hot.grad.gather(1, ids[:, None])
    scores = found._scores
    finite = torch.isfinite(scores)
    torch.testing.assert_close(scores[finite], expected[finite], rtol=1e-3, atol=1e-4)
    assert not finite.gather(1, ids[:, None]).any()  # what stands there already is no swap
    assert not finite[:, ~tiny_model.head.allowed].any()
    assert not finite[:, list(tiny_model.vocabulary.special_ids)].any()


def test_all_of_few_prompts_are_tried_and_then_it_ends(tiny_models: dict[str, LanguageModel]) -> None:
    model = tiny_models["llama"]
    found = search(model, Hard(length=1, width=512, top_k=512, bank=4), steps=100)
    steps = list(found.steps())
    assert steps[-1].index < 100
    usable = found._allowed[:, None]
    pasteable = torch.tensor(surviving(model, usable.tolist()))
    with torch.no_grad():
        kls = forward_kl(outlier_target(model), model.next_token_logits(usable[pasteable]))
    assert found.best.kl == pytest.approx(kls.min().item(), abs=1e-6)


def test_where_no_swap_helps_pairs_are_tried_and_then_variants_of_the_best(tiny_model: LanguageModel) -> None:
    """Which positions a step may change, by what it does."""
    settings = SETTINGS.model_copy(update={"patience": 3, "pairs": 6, "kick": 3, "merge": 0})
    found = search(tiny_model, settings, steps=60)
    steps = found.steps()
    next(steps)
    kinds = set()
    ids, kl, fruitless = current(found), found.best.kl, 0
    best = ids
    for step in steps:
        kind = found._kind
        kinds.add(kind)
        changed = int((current(found) != (best if kind == "variants" else ids)).sum())
        assert changed <= {"singles": 1, "pairs": 2, "variants": 3}[kind]
        assert kind != "pairs" or fruitless
        assert (kind == "variants") <= (fruitless >= 3 or not torch.isfinite(found._scores).any())
        fruitless = 0 if kind == "variants" or step.kls[-1] < kl else fruitless + 1
        assert (step.kls[-1] == kl) == (fruitless > 0)
        ids, kl = current(found), step.kls[-1]
        best = found.best.prompt.ids if isinstance(found.best.prompt, HardPrompt) else best
    assert kinds == {"singles", "pairs", "variants"}


def test_pairs_are_all_there_are_at_two_positions() -> None:
    ids = torch.tensor([1, 2, 3])
    swaps = torch.tensor([[0, 7], [2, 8], [0, 9]])
    assert in_pairs(ids, swaps).tolist() == [[7, 2, 8], [9, 2, 8]]
    assert in_pairs(ids, swaps[:1]).tolist() == []


def test_starting_text_is_kept(tiny_models: dict[str, LanguageModel]) -> None:
    model = tiny_models["llama"]
    found = search(model, Hard(length=3, init="text", init_text="yes or no"), steps=0)
    list(found.steps())
    assert current(found).tolist() == model.vocabulary.encode("yes or no")[:3]
