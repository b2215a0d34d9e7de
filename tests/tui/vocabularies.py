"""A small byte-level vocabulary: strings of one or several tokens, and bytes that are not text."""

from __future__ import annotations

from pathlib import Path

from distprompt_tui.models.vocabulary import Vocabulary, load_vocabulary
from tests.byte_level import byte_level_bpe

CORPUS = [
    "I say yes and you say no, yes or no, a banana or no banana, banana split",
    "yes, no; banana!",
    "\n\n\t日本",
] * 4


def write_byte_level(folder: Path) -> Vocabulary:
    """Write its `tokenizer.json` into a folder, and load it: " yes", "yes" and " banana" are one token each."""
    tokenizer = byte_level_bpe(CORPUS, 330)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return load_vocabulary(folder, tokenizer.get_vocab_size())
