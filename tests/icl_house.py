"""Toy characters for the tests of icl-data-properties."""

import numpy as np

from stemma.papers.icl_data_properties.characters import Stimuli


def clusters(classes: int = 40, holdout: int = 20, dim: int = 16, spread: float = 0.0) -> Stimuli:
    """Classes as random unit-variance points, with exemplars around them."""
    rng = np.random.default_rng(3)
    centres = rng.standard_normal((classes + holdout, 1, dim))
    values = centres + spread * rng.standard_normal((classes + holdout, 20, dim))
    return Stimuli(
        values.astype(np.float32),
        np.ones(dim, np.float32),
        1.0,
        classes,
        np.arange(classes + holdout),
    )
