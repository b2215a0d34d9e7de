"""Find a model, prepare it once, load it; and the small face of it that searches see."""
