"""Sweeps: grids of searches, their execution on one or more machines, their results and findings."""
