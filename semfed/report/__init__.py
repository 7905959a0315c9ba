"""Tables and figures, made from a run folder alone."""
