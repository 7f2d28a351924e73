"""Distributional policy gradients for any f-divergence (arXiv 2302.08215), on two kinds of space.

``divergences`` and ``estimator`` are the method. ``gru``, ``targets``, ``exact``, ``toy`` and
``noise`` run it where every sequence can be enumerated; ``text``, ``features``, ``jobs`` and
``descent`` run it on language models.
"""
