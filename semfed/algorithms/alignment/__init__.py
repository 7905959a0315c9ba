"""Federated alignment of latent spaces over MIMO links: pure numerics, tensors in, tensors out.

Source: "Federated Latent Space Alignment for Multi-user Semantic Communications" (arXiv 2602.17271). Matrices have
features in rows and samples in columns, as in the paper, and are complex128, or float64 where everything is treated
as real (widely linear).
"""
