"""What Chinchilla's scaling law says of width: parameters grow with it as a power.

Loss falls as N^-0.34 with the parameters N (Hoffmann et al. 2022, approach 3), or as N^-0.348
(Besiroglu et al. 2024, the same data fitted again); if N grows as m^k, loss falls as m^-0.34k.
"""

import numpy as np
from numpy.typing import NDArray

from stemma.papers.superposition_scaling.scaling import Array

EXPONENTS = {"Hoffmann 2022": 0.34, "Besiroglu 2024": 0.348}

# (width, layers, heads, width of a head) of the models in table A9 of Hoffmann et al. (2022).
MODELS: NDArray[np.int64] = np.array(
    [
        (512, 8, 8, 64), (576, 9, 9, 64), (640, 10, 10, 64), (640, 13, 10, 64), (640, 16, 10, 64),
        (768, 12, 12, 64), (768, 15, 12, 64), (768, 18, 12, 64), (896, 14, 14, 64),
        (896, 16, 14, 64), (896, 18, 14, 64), (1024, 16, 16, 64), (1024, 18, 16, 64),
        (1024, 20, 16, 64), (1280, 18, 10, 128), (1280, 21, 10, 128), (1408, 18, 11, 128),
        (1280, 24, 10, 128), (1408, 21, 11, 128), (1536, 19, 12, 128), (1408, 24, 11, 128),
        (1536, 22, 12, 128), (1536, 25, 12, 128), (1792, 20, 14, 128), (1792, 23, 14, 128),
        (1792, 26, 14, 128), (2048, 22, 16, 128), (2176, 22, 17, 128), (2048, 25, 16, 128),
        (2048, 28, 16, 128), (2176, 25, 17, 128), (2304, 24, 18, 128), (2176, 28, 17, 128),
        (2304, 28, 18, 128), (2304, 32, 18, 128), (2560, 26, 20, 128), (2560, 30, 20, 128),
        (2560, 34, 20, 128), (2688, 36, 22, 128), (2816, 36, 22, 128), (2944, 36, 22, 128),
        (3072, 36, 24, 128), (3584, 40, 28, 128), (4096, 42, 32, 128), (4352, 47, 32, 128),
        (4608, 44, 36, 128), (4608, 47, 32, 128), (4864, 47, 32, 128), (4992, 49, 32, 128),
        (5120, 47, 40, 128),
    ]
)  # fmt: skip


def parameters(models: NDArray[np.int64] = MODELS) -> Array:
    """Return (models,) non-embedding parameters: attention 4 m h d and an MLP of 8 m^2 a layer."""
    width, layers, heads, head_width = models.astype(float).T
    return np.asarray(layers * (4 * width * heads * head_width + 8 * width**2))
