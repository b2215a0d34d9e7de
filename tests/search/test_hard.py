"""Hard search: exact scores, monotone, nothing measured twice, and prompts that survive being pasted."""

from __future__ import annotations

import pytest
import torch

from distprompt_tui.divergence import forward_kl
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.search.hard import HardSearch
from distprompt_tui.search.protocol import HardPrompt
from distprompt_tui.search.retokenise import surviving
from distprompt_tui.spec import Hard
from tests.search.targets import outlier_target

SETTINGS = Hard(length=4, width=16, top_k=32, bank=24)
STEPS = 12


def search(model: LanguageModel, seed: int = 0, settings: Hard = SETTINGS, steps: int = STEPS) -> HardSearch:
    """A search on the outlier target."""
    return HardSearch(model, outlier_target(model), settings, steps, seed)


def ids_of(found: HardSearch) -> torch.Tensor:
    """The best prompt's ids."""
    prompt = found.best.prompt
    assert isinstance(prompt, HardPrompt)
    return prompt.ids


def test_monotone_and_better_than_its_start(tiny_model: LanguageModel) -> None:
    found = search(tiny_model)
    kls = [step.kls[-1] for step in found.steps()]
    assert kls == sorted(kls, reverse=True)
    assert kls[-1] < kls[0]
    with torch.no_grad():
        again = forward_kl(outlier_target(tiny_model), tiny_model.next_token_logits(ids_of(found)[None])).item()
    assert found.best.kl == pytest.approx(again, abs=1e-5)


def test_every_prompt_survives_being_written_and_read(tiny_model: LanguageModel) -> None:
    inside = tiny_model.in_context("The quick ", " dog")
    for model in (tiny_model, inside):
        found = search(model)
        for _ in found.steps():
            assert surviving(model, [ids_of(found).tolist()]) == [True]


def test_scores_are_the_derivative_by_one_hot_rows(tiny_model: LanguageModel) -> None:
    """(E_v − E_current) · gradient, against autograd through an explicit one-hot matrix."""
    found = search(tiny_model, steps=0)
    list(found.steps())
    ids = ids_of(found)
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


def test_a_search_that_has_tried_every_swap_ends_at_a_local_optimum(tiny_models: dict[str, LanguageModel]) -> None:
    model = tiny_models["llama"]
    found = search(model, settings=Hard(length=1, width=512, top_k=512, bank=4), steps=100)
    steps = list(found.steps())
    assert steps[-1].index < 100
    usable = found._allowed[:, None]
    pasteable = torch.tensor(surviving(model, usable.tolist()))
    with torch.no_grad():
        kls = forward_kl(outlier_target(model), model.next_token_logits(usable[pasteable]))
    assert found.best.kl == pytest.approx(kls.min().item(), abs=1e-6)


def test_resumed_equals_uninterrupted_bit_for_bit(tiny_model: LanguageModel) -> None:
    whole = search(tiny_model)
    expected = list(whole.steps())
    first = search(tiny_model)
    for step in first.steps():
        if step.index == STEPS // 3:
            break
    second = search(tiny_model, seed=99)
    second.restore(first.state())
    assert list(second.steps()) == expected[STEPS // 3 :]
    assert torch.equal(ids_of(second), ids_of(whole))
    assert (second.best.kl, second.best.step) == (whole.best.kl, whole.best.step)


def test_the_seed_decides_everything(tiny_models: dict[str, LanguageModel]) -> None:
    runs = [[step.kls for step in search(tiny_models["qwen2"], seed).steps()] for seed in (3, 3, 4)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_starting_text_is_kept(tiny_models: dict[str, LanguageModel]) -> None:
    model = tiny_models["llama"]
    found = search(model, settings=Hard(length=3, init="text", init_text="yes or no"), steps=0)
    list(found.steps())
    assert ids_of(found).tolist() == model.vocabulary.encode("yes or no")[:3]
