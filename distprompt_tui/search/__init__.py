"""Searches for prompts: soft (vectors) and hard (tokens)."""

from distprompt_tui.search.registry import make_search

__all__ = ["make_search"]
