"""Are the tuned models recognised as descendants of Alice? The query test, with controls."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

import provenance as pv
from stemma.models.alice import Alice
from stemma.models.pretraining import TrainingRun, pretrain, transcript_of
from stemma.models.scoring import token_losses

Array = NDArray[np.float64]


def relative(own: Alice, seed: int, same_examples: bool) -> TrainingRun:
    """Train an innocent relative of Alice, in an order of its own.

    Args:
        own: Alice.
        seed: decides the order.
        same_examples: train a sibling, from her initial weights on her examples; otherwise a
            stranger, from other weights on other examples.
    """
    rows = own.rows if same_examples else own.corpus.bob[: len(own.rows)]
    order = np.random.default_rng([seed, 1]).permutation(len(rows))
    return pretrain(own.model.config, 0 if same_examples else 1, rows, order, own.run.recipe)


def query_all(
    own: Alice,
    suspects: Mapping[str, PreTrainedModel],
    reference: TrainingRun,
    *,
    asked: int,
    permutations: int,
    seed: int,
) -> pv.QueryFamily:
    """Run the query test on every suspect, adjusted together by Holm.

    Args:
        own: Alice, whose order is tested for.
        suspects: models by name.
        reference: a sibling's run, which no suspect may be.
        asked: examples of the transcript that are scored, drawn before any score is seen.
        permutations: of the exact p-values.
        seed: decides the examples and the permutations.
    """
    chosen = np.sort(np.random.default_rng([seed, 3]).permutation(len(own.rows))[:asked])
    rows = own.rows[chosen]
    lineage = pv.Lineage.of(transcript_of(own.rows, reference.order))
    scores = {name: _likelihood(model, rows) for name, model in suspects.items()}
    against = pv.Reference.from_scores(_likelihood(reference.model, rows), lineage)
    return pv.query_family(
        own.transcript.take(chosen), scores, against, permutations=permutations, seed=seed
    )


def _likelihood(model: PreTrainedModel, rows: NDArray[np.int64]) -> Array:
    total: Array = -token_losses(model, rows).sum(axis=1)
    return total
