"""The process that runs one search and records it in the run directory."""
