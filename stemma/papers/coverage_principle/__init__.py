"""The Coverage Principle (arXiv 2505.20278): two-hop tasks, coverage, and the models that learn."""
