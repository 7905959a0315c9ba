"""The mathematics of the papers: tensors in, tensors out."""
