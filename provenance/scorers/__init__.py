"""Scorers: how likely a suspect finds each token of the examples.

One small protocol, ``Scorer``: token ids in, log-probabilities in nats out. ``sequence_scores``
makes of them the one number an example that ``query_test`` takes.

The classes that need heavy libraries are loaded when first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from provenance.scorers.base import EndpointError, Scorer, ScorerError, Window, sequence_scores
from provenance.scorers.columns import PrecomputedScorer, column_scores

if TYPE_CHECKING:
    from provenance.scorers.alignment import Alignment
    from provenance.scorers.completions import CompletionsScorer
    from provenance.scorers.endpoint import Endpoint, Estimate
    from provenance.scorers.local import TransformersScorer
    from provenance.scorers.sampling import SamplingScorer
    from provenance.scorers.spans import TextScorer

_LAZY = {
    "Alignment": "alignment",
    "CompletionsScorer": "completions",
    "Endpoint": "endpoint",
    "Estimate": "endpoint",
    "SamplingScorer": "sampling",
    "TextScorer": "spans",
    "TransformersScorer": "local",
}

__all__ = [
    "Alignment",
    "CompletionsScorer",
    "Endpoint",
    "EndpointError",
    "Estimate",
    "PrecomputedScorer",
    "SamplingScorer",
    "Scorer",
    "ScorerError",
    "TextScorer",
    "TransformersScorer",
    "Window",
    "column_scores",
    "sequence_scores",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
