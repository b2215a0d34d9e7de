"""Explore which next-token distributions a language model can be prompted into."""

__version__ = "0.1.0"
