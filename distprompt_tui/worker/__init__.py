"""The process that runs one search and writes what happens into its run directory."""
