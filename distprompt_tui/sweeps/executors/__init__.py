"""Who carries tasks out: worker processes of this machine, or a Ray cluster."""
