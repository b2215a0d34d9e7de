"""Executors of tasks: local worker processes, or a Ray cluster."""
