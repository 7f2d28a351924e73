"""Do two models' weights look as if one came from the other? Tests and measures of weights alone.

Rivals of the tests of descent that need the weights of both models; see ``provenance.rivals``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from provenance.errors import BadScores, ProvenanceError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Array = NDArray[np.float64]

_LN10 = float(np.log(10.0))
_TERMS = 30  # of the alternating series of 1/e, exact in floats by then


def weight_cosine(a: "PreTrainedModel", b: "PreTrainedModel") -> float:
    """Return the cosine of the two models' weights taken as one vector each.

    Access: weights of both. No null, no p-value: a permutation of hidden units hides a copy.

    Raises:
        ProvenanceError: models of different shapes.
    """
    import torch

    with torch.no_grad():
        u, v = (torch.cat([p.flatten().double() for p in m.parameters()]) for m in (a, b))
        if u.shape != v.shape:
            raise ProvenanceError(f"{len(u)} and {len(v)} parameters: not one architecture")
        return float(torch.nn.functional.cosine_similarity(u, v, dim=0))


@dataclass(frozen=True)
class HiddenUnitResult:
    """Outcome of the test of hidden units.

    Attributes:
        log10_p: log10 of the p-value of all layers together; the floats of p itself underflow.
        layer_log10_p: log10 of the exact p-value of each layer, shape (layers,).
        fixed: units of each layer matched with the unit of the same number, shape (layers,).
        units: hidden units of each layer, shape (layers,).
    """

    log10_p: float
    layer_log10_p: Array
    fixed: NDArray[np.int64]
    units: NDArray[np.int64]


def hidden_unit_test(a: Sequence[Array], b: Sequence[Array], seed: int = 0) -> HiddenUnitResult:
    """Test whether two models' hidden units correspond by number, as those of a copy do.

    Access: weights of both. Null: the models are independent and, for at least one of them,
    numbering the hidden units of each feed-forward layer differently would have been equally likely
    (i.i.d. initialization and a training that treats units alike). Renumbering one model's units
    renumbers the best matching, which is then a uniformly random permutation, so that the number of
    fixed points has the distribution of the matching problem (de Montmort): the p-value of a layer
    is exact and needs no Monte Carlo. Layers are renumbered independently of each other; Fisher's
    method joins them (conservative, as p is discrete). Siblings that share an initialization are
    dependent under this null, and an owner who renumbers units before release escapes this
    statistic; it is the constrained setting of Zhu et al., "Independence Tests for Language
    Models", ICML 2025, with fixed points for their rank correlation.

    Args:
        a: features of every hidden unit, one array a layer, shape (units, features); see
            ``hidden_units``.
        b: likewise, of the same shapes.
        seed: numbers the units of ``a`` afresh before matching, so that ties are broken at random.

    Raises:
        ProvenanceError: no layer, or shapes that differ.
        BadScores: NaN or infinite weights.
    """
    if not all(np.isfinite(x).all() for x in (*a, *b)):
        raise BadScores("weights hold NaN or infinite values")
    if not a or [x.shape for x in a] != [y.shape for y in b]:
        raise ProvenanceError("the models' feed-forward layers differ in number or shape")
    rng = np.random.default_rng(seed)
    fixed = np.array([_fixed_points(x, y, rng) for x, y in zip(a, b, strict=True)])
    units = np.array([len(x) for x in a])
    logs = np.array([_log_matching_tail(int(k), int(h)) for k, h in zip(fixed, units, strict=True)])
    # Fisher: P(chi2 with 2L degrees > 2s) = exp(-s) sum_{i<L} s^i / i!, summed in logarithms.
    s, i = float(-logs.sum()), np.arange(len(logs))
    joined = -s + float(special.logsumexp(special.xlogy(i, s) - special.gammaln(i + 1)))
    return HiddenUnitResult(min(0.0, joined / _LN10), logs / _LN10, fixed, units)


def _fixed_points(a: Array, b: Array, rng: np.random.Generator) -> int:
    shuffle = rng.permutation(len(a))
    cosines = _unit_rows(a[shuffle]) @ _unit_rows(b).T
    matched = optimize.linear_sum_assignment(cosines, maximize=True)[1]
    return int(np.count_nonzero(matched == shuffle))


def _unit_rows(x: Array) -> Array:
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray(x / np.where(norms > 0, norms, 1.0))


def _log_matching_tail(k: int, n: int) -> float:
    """Log of P(at least k fixed points) of a uniform permutation of n.

    P(exactly j) = (1 / j!) sum_{i <= n - j} (-1)^i / i!: the second factor is the chance that none
    of n - j is fixed.
    """
    if k == 0:
        return 0.0
    j = np.arange(k, n + 1)
    i = np.arange(_TERMS)
    none = np.cumsum((-1.0) ** i / special.factorial(i))[np.minimum(n - j, _TERMS - 1)]
    with np.errstate(divide="ignore"):  # exactly n - 1 fixed points are impossible
        log_exactly = np.log(none) - special.gammaln(j + 1)
    return float(min(0.0, special.logsumexp(log_exactly)))


def hidden_units(model: "PreTrainedModel") -> list[Array]:
    """Return for each feed-forward layer all weights into and out of each unit, (units, features).

    Knows the modules named ``mlp`` of transformers models whose matrices are ``nn.Linear`` (Llama,
    GPT-NeoX and their kin).

    Raises:
        ProvenanceError: no such module.
    """
    from torch import nn

    layers = []
    for name, module in model.named_modules():
        if name.rpartition(".")[2] == "mlp":
            linear = [m for m in module.modules() if isinstance(m, nn.Linear)]
            layers.append(np.concatenate([_by_unit(m.weight, linear) for m in linear], axis=1))
    if not layers:
        raise ProvenanceError("no feed-forward module `mlp` of linear layers was found")
    return layers


def _by_unit(weight: "torch.Tensor", linear: Sequence[Any]) -> Array:
    # The last matrix leads out of the hidden units, all others into them.
    matrix: Array = weight.detach().double().cpu().numpy()
    return matrix.T if weight is linear[-1].weight else matrix


def invariant_cosine(a: "PreTrainedModel", b: "PreTrainedModel", tokens: ArrayLike) -> float:
    """Return the mean cosine of terms that renumbering heads or hidden units leaves alone.

    Access: weights of both and a common vocabulary. No null, no p-value (Zeng et al., "HuRef",
    NeurIPS 2024): per block E Wq' Wk E', E Wo Wv E' and E Wdown Wup E' for the embeddings E of some
    tokens, gating and rotation left out.

    Args:
        a: a model whose attention is named ``q_proj``, ``k_proj``, ``v_proj``, ``o_proj`` and whose
            feed-forward ``up_proj``, ``down_proj`` (Llama and its kin).
        b: another one; the first blocks that both have are compared.
        tokens: ids of the tokens, shape (k,).

    Raises:
        ProvenanceError: another architecture, or ids outside a vocabulary.
    """
    pairs = zip(_invariants(a, tokens), _invariants(b, tokens), strict=False)
    return float(
        np.mean([np.vdot(u, v) / (np.linalg.norm(u) * np.linalg.norm(v)) for u, v in pairs])
    )


def _invariants(model: "PreTrainedModel", tokens: ArrayLike) -> list[Array]:
    ids = np.asarray(tokens)
    weights = {n: p.detach().double().cpu().numpy() for n, p in model.named_parameters()}
    embedding: Array = model.get_input_embeddings().weight.detach().double().cpu().numpy()  # type: ignore[operator]
    if ids.ndim != 1 or len(ids) == 0 or ids.min() < 0 or ids.max() >= len(embedding):
        raise ProvenanceError(f"tokens must be ids below {len(embedding)}")
    e, terms = embedding[ids], []
    queries = [n for n in weights if n.endswith("self_attn.q_proj.weight")]
    if not queries:
        raise ProvenanceError("only attention with `q_proj` (Llama and its kin) is understood")
    for name in queries:
        block = name.removesuffix("self_attn.q_proj.weight")
        q, k, v, o = (weights[f"{block}self_attn.{x}_proj.weight"] for x in "qkvo")
        up, down = (weights[f"{block}mlp.{x}_proj.weight"] for x in ("up", "down"))
        width = model.config.hidden_size // model.config.num_attention_heads
        k, v = (_shared_heads(w, len(q), getattr(model.config, "head_dim", width)) for w in (k, v))
        terms += [e @ q.T @ k @ e.T, e @ o @ v @ e.T, e @ down @ up @ e.T]
    return terms


def _shared_heads(weight: Array, rows: int, width: int) -> Array:
    """Repeat the heads of grouped-query attention up to the number of query heads."""
    heads = weight.reshape(-1, width, weight.shape[1])
    return np.repeat(heads, rows // len(weight), axis=0).reshape(rows, -1)
