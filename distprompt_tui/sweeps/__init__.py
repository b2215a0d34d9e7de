"""Grids of searches: made, run on one machine or many, kept in one table, and judged."""
