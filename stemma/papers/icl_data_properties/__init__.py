"""Properties of data from which in-context learning emerges (Chan et al., arXiv 2205.05055).

Modules, in reading order: ``characters`` (Omniglot, split, features), ``sequences`` (training and
evaluation), ``network``, ``evaluation``, ``training`` (one run), ``study`` (families of
conditions), ``baselines``, ``figures``.
"""
