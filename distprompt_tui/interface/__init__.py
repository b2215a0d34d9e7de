"""The Python interface for scripts and notebooks. Its public names are exported by `distprompt_tui` itself."""
