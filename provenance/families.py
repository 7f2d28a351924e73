"""Several suspects against one transcript: the family-wise error is held by Holm's method."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from provenance.errors import ProvenanceError


@dataclass(frozen=True)
class Family:
    """p-values of several suspects, with Holm's adjustment.

    Attributes:
        p: exact p-value of each suspect.
        adjusted: the same after Holm, comparable with the family-wise level.
    """

    p: dict[str, float]
    adjusted: dict[str, float]

    def flagged(self, alpha: float = 0.05) -> list[str]:
        """Return the suspects whose adjusted p-value is at most ``alpha``."""
        return [name for name, p in self.adjusted.items() if p <= alpha]

    def summary(self) -> str:
        """Return one line a suspect."""
        return "\n".join(
            f"{name}: p = {p:.3g}, Holm {self.adjusted[name]:.3g}" for name, p in self.p.items()
        )


def holm(p: Mapping[str, float]) -> Family:
    """Adjust the p-values of a family of suspects (Holm 1979); valid under any dependence.

    Raises:
        ProvenanceError: no suspect, or a p-value outside (0, 1].
    """
    if not p:
        raise ProvenanceError("a family needs at least one suspect")
    for name, value in p.items():
        if not 0.0 < value <= 1.0:
            raise ProvenanceError(f"`{name}`: {value!r} is no p-value of an exact test")
    names = sorted(p, key=lambda name: p[name])
    # By hand: statsmodels' multipletests runs the garbage collector twice a call.
    steps = np.array([p[name] for name in names]) * np.arange(len(names), 0, -1)
    adjusted = np.minimum(np.maximum.accumulate(steps), 1.0)
    by_name = dict(zip(names, adjusted.tolist(), strict=True))
    return Family(dict(p), {name: by_name[name] for name in p})
