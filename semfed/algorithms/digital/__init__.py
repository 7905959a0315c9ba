"""Digital baselines: an image is compressed to bits, and the bits are sent by a code that is apart from it."""
