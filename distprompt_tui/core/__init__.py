"""What every other package uses: specs, safe files, terminal text, divergences and the exceptions."""
