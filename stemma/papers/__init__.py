"""One room a paper: ``paper.yaml`` (facts, claims, scales) and the method as small pure modules."""
