"""Superposition Yields Robust Neural Scaling (arXiv 2505.10465)."""
