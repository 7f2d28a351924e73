"""Testable learning of halfspaces (Gollakota, Klivans, Stavropoulos, Vasilyan, arXiv 2302.14853).

A learner that must either certify a near-optimal halfspace or reject its data. Modules, in reading
order: ``targets`` (the distribution the certificate is about), ``zoo`` (input laws, good and bad),
``labels`` (Massart and adversarial noise), ``surrogate`` (the non-convex loss and its projected
SGD), ``moments`` (matching all moments at once), ``tester`` (tests T1 to T4, their calibration, the
tester-learner), ``baselines``, ``study`` (one row a data set), ``cost`` (time and operations),
``real`` (features of real tables), ``evidence``, ``plots``.
"""
