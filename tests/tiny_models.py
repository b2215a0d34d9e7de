"""Tiny random language models of the architectures that differ where searches could go wrong."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from tests.byte_level import byte_level_bpe

ARCHITECTURES = ("llama", "gpt2", "gpt_neox", "gemma3", "qwen2")
TOKENS = 400
PADDING_ROWS = 16
"""GPT-NeoX's and Qwen's heads have more rows than there are tokens, as those of the real ones do."""

CORPUS = [
    "The quick brown fox jumps over the lazy dog, and the dog sleeps on.",
    "My favourite food is a banana; yes or no, heads or tails, one two three four five six.",
    "Entropy measures how much a distribution spreads: naïve café, Straße, 東京, emoji 🙂, tabs\tand\nnewlines.",
    "def search(prompt): return [token for token in prompt if token != 0]  # 0123456789",
] * 4


def write_tiny_model(architecture: str, folder: Path, tokenizer: Tokenizer | None = None) -> Path:
    """Write config, random weights (fixed seed) and a trained tokenizer of one architecture into a folder."""
    tokenizer = tokenizer or (sentencepiece_like() if architecture == "gemma3" else byte_level_bpe(CORPUS, TOKENS))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")
    rows = len(fast) + (PADDING_ROWS if architecture in ("gpt_neox", "qwen2") else 0)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(_config(architecture, rows), dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or "ln_" in name:  # not all ones, so that a gain that is left out shows
                parameter.add_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def _config(architecture: str, rows: int) -> PretrainedConfig:
    common = {"vocab_size": rows, "initializer_range": 0.2, "bos_token_id": 0, "eos_token_id": 0}
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
    }
    groups = {"num_key_value_heads": 2}
    match architecture:
        case "llama":
            return LlamaConfig(**common, **sizes, **groups, tie_word_embeddings=False)
        case "gpt2":
            return GPT2Config(**common, n_embd=32, n_layer=2, n_head=4, n_positions=64)
        case "gpt_neox":
            return GPTNeoXConfig(**common, **sizes)
        case "gemma3":
            return Gemma3TextConfig(**common, **sizes, **groups, head_dim=8, sliding_window=16, layer_types=None)
        case "qwen2":
            return Qwen2Config(**common, **sizes, **groups, tie_word_embeddings=True)
    raise ValueError(architecture)


def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    """A trained tokenizer of `TOKENS` tokens, to be saved beside a model."""
    return PreTrainedTokenizerFast(tokenizer_object=byte_level_bpe(CORPUS, TOKENS), eos_token="<|end|>")


def sentencepiece_like(*, in_words: bool = False) -> Tokenizer:
    """BPE on "▁" for spaces, with a token for each byte that has no other: Llama's and Gemma's way.

    Args:
        in_words: whether "▁" begins tokens only, as in Llama's.
    """
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENS, special_tokens=["<|end|>", "<unk>", *bytes_], show_progress=False, limit_alphabet=60
    )
    if in_words:
        tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    tokenizer.train_from_iterator([f" {text}" for text in CORPUS] if in_words else CORPUS, trainer)
    # the trainer needs the byte tokens told, but they are ordinary tokens, not control tokens
    plain = Tokenizer.from_str(tokenizer.to_str().replace('"special":true', '"special":false'))
    plain.add_special_tokens([AddedToken("<|end|>", special=True), AddedToken("<unk>", special=True)])
    return plain
