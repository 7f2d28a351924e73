"""Cheap baselines on the same features: what needs no sequence model at all."""

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from stemma.papers.icl_data_properties.characters import EXEMPLARS, Stimuli
from stemma.papers.icl_data_properties.sequences import Sequences


def nearest_neighbour(stimuli: Stimuli, drawn: Sequences) -> float:
    """Accuracy of the label of the context item nearest to the query (Euclidean).

    Args:
        stimuli: features, shape (classes, 20, dim).
        drawn: few-shot sequences.
    """
    items = stimuli.values[drawn.classes, drawn.exemplars]
    distances = np.linalg.norm(items[:, :-1] - items[:, -1:], axis=2)
    answers = np.take_along_axis(drawn.labels, distances.argmin(axis=1)[:, None], axis=1)[:, 0]
    return float((answers == drawn.labels[:, -1]).mean())


def nearest_mean(stimuli: Stimuli, drawn: Sequences, ways: int) -> float:
    """Accuracy of the label whose context items have the mean nearest to the query."""
    items = stimuli.values[drawn.classes, drawn.exemplars]
    belongs = drawn.labels[:, :-1, None] == np.arange(ways)
    means = np.einsum("ncd,ncw->nwd", items[:, :-1], belongs / belongs.sum(axis=1, keepdims=True))
    answers = np.linalg.norm(means - items[:, -1:], axis=2).argmin(axis=1)
    return float((answers == drawn.labels[:, -1]).mean())


def discriminant(stimuli: Stimuli, drawn: Sequences, n_classes: int) -> float:
    """Accuracy on the queries of a linear discriminant fitted to all images of ``n_classes``.

    The queries are among the images it is fitted to, as they are among those a model trains on.
    """
    train = stimuli.values[:n_classes].reshape(n_classes * EXEMPLARS, -1)
    labels = np.repeat(np.arange(n_classes), EXEMPLARS)
    model = LinearDiscriminantAnalysis(solver="lsqr").fit(train, labels)
    answers = model.predict(stimuli.values[drawn.classes[:, -1], drawn.exemplars[:, -1]])
    return float((answers == drawn.classes[:, -1]).mean())
