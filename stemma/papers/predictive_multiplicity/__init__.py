"""Predictive multiplicity of probabilistic classifiers (Watson-Daniels, Parkes, Ustun 2022).

How far can the risk of one person move among logistic models whose training loss is within eps
of the best? ``task`` holds data and loss, ``newton`` the constrained convex problems, ``ranges``
the exact viable ranges with their certificates, ``path`` the paper's grid of thresholds,
``discrepancy`` the mixed-integer program, ``ensembles`` the ad-hoc baselines.
"""
