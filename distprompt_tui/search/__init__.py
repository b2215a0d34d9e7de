"""Searches for soft prompts (vectors) and hard prompts (tokens)."""

from distprompt_tui.search.registry import make_search

__all__ = ["make_search"]
