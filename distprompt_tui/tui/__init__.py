"""The terminal app: it follows run directories and starts runs. Never imports torch."""
