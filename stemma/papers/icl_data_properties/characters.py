"""Omniglot as stimuli: which characters train and which are held out, and what a model sees."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from stemma.data.images import read_grey

EXEMPLARS = 20
"""Drawings of each character, one a drawer."""

VARIANTS = 8
"""Mirrored or not, times four rotations: the paper's way to more classes."""

_PCA_IMAGES = 32_000

Pixels = NDArray[np.uint8]


class Split(NamedTuple):
    """Base characters (row numbers of the image array): trained on, in order of rank, and not."""

    train: NDArray[np.int64]
    holdout: NDArray[np.int64]


@dataclass(frozen=True)
class Stimuli:
    """What models see of each class and exemplar.

    Attributes:
        values: shape (classes, 20, ...): uint8 pixels, or float32 features.
        noise: standard deviation, in the units of ``values`` scaled by ``scale``, that pixel noise
            of standard deviation 1 has in each coordinate.
        scale: what values are multiplied by before use.
        train: classes 0 to ``train`` - 1 are for training, the rest are held out.
        bases: the base character of each class, shape (classes,).
    """

    values: Pixels | NDArray[np.float32]
    noise: NDArray[np.float32]
    scale: float
    train: int
    bases: NDArray[np.int64]

    @property
    def holdout(self) -> int:
        """How many classes are held out."""
        return len(self.values) - self.train


def read_characters(sources: Sequence[str], side: int, count: int) -> Pixels:
    """Return ``count`` characters of the sources, shape (count, 20, side, side), strokes dark.

    Raises:
        DataUnavailable: a source cannot be had.
        ValueError: the sources hold fewer characters.
    """
    parts = [read_grey(source, side, classes=count) for source in sources]
    labels = np.concatenate([part.labels for part in parts])
    pixels = np.concatenate([part.pixels for part in parts])[np.argsort(labels, kind="stable")]
    if len(pixels) < count * EXEMPLARS:
        raise ValueError(f"{len(pixels) // EXEMPLARS} characters, {count} wanted")
    return pixels[: count * EXEMPLARS].reshape(count, EXEMPLARS, side, side)


def split_characters(count: int, holdout: int, seed: int) -> Split:
    """Order ``count`` characters at random; the last ``holdout`` are never trained on."""
    order = np.random.default_rng([seed, 0]).permutation(count)
    return Split(order[: count - holdout], order[count - holdout :])


def augment(images: Pixels) -> Pixels:
    """Return the eight variants, shape (8,) + images.shape; variant 0 is the image itself."""
    flipped = (images, images[..., ::-1])
    return np.stack([np.rot90(f, k, axes=(-2, -1)) for f in flipped for k in range(4)])


def class_images(images: Pixels, split: Split, *, augmented: bool) -> tuple[Pixels, Pixels]:
    """Return the images of the training classes and of the held-out ones (upright).

    Class v * len(split.train) + i is variant v of character i of ``split.train``: the first classes
    are upright, so that a smaller number of classes takes a subset.
    """
    train = images[split.train]
    if augmented:
        train = augment(train).reshape(-1, *train.shape[1:])
    return train, images[split.holdout]


def make_stimuli(
    images: Pixels, split: Split, *, components: int, augmented: bool, seed: int
) -> Stimuli:
    """Return features of ``components`` whitened principal components, or pixels if that is 0.

    The components are fitted on images of training classes alone.
    """
    train, held = class_images(images, split, augmented=augmented)
    variants = len(train) // len(split.train)
    bases = np.concatenate([np.tile(split.train, variants), split.holdout])
    both = np.concatenate([train, held])
    if components == 0:
        return Stimuli(both, np.ones(1, np.float32), 1 / 255, len(train), bases)
    flat = both.reshape(*both.shape[:2], -1)
    pca = fit_components(flat[: len(train)].reshape(-1, flat.shape[-1]), components, seed)
    # Whitening divides component k by its deviation, and so does it with noise of unit variance.
    noise = (1 / np.sqrt(pca.explained_variance_)).astype(np.float32)
    values = np.stack([pca.transform(rows / np.float32(255)) for rows in flat])
    return Stimuli(values.astype(np.float32), noise, 1.0, len(train), bases)


def fit_components(rows: NDArray[np.uint8], components: int, seed: int) -> PCA:
    """Fit whitened components to pixels (n, dim) scaled to [0, 1], to at most 32 000 rows."""
    if len(rows) > _PCA_IMAGES:
        chosen = np.random.default_rng([seed, 1]).choice(len(rows), _PCA_IMAGES, replace=False)
        rows = rows[np.sort(chosen)]
    return PCA(components, whiten=True, svd_solver="covariance_eigh").fit(rows / np.float32(255))
