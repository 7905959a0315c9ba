"""The border to Flower: the only place that knows messages."""
