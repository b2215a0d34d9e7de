"""Reports of runs and sweeps as HTML pages, figures and text. Imports no torch."""
