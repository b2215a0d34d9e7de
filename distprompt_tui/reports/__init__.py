"""Reports of runs and sweeps: in the terminal, as one HTML page, as figures, as a table. No torch."""
