"""The branching policy: a graph network on constraints and variables (Gasse et al. 2019)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stemma.papers.distributional_miplib.state import (
    CONSTRAINT_FEATURES,
    VARIABLE_FEATURES,
    State,
)
from stemma.stats import Array


@dataclass(frozen=True)
class Batch:
    """Several states as one graph.

    Attributes:
        constraints: (c, 5) features.
        edges: (2, e) constraint and variable.
        weights: (e, 1) coefficients.
        variables: (v, 19) features.
        candidates: (k,) variables to choose from.
        owners: (k,) the state that each candidate belongs to.
        states: how many states.
    """

    constraints: Tensor
    edges: Tensor
    weights: Tensor
    variables: Tensor
    candidates: Tensor
    owners: Tensor
    states: int


def collate(states: Sequence[State]) -> Batch:
    """Join states into one graph without edges between them."""
    rows = np.cumsum([0, *(len(s.constraints) for s in states)])
    columns = np.cumsum([0, *(len(s.variables) for s in states)])
    edges = [s.edges + np.array([[r], [c]]) for s, r, c in zip(states, rows, columns, strict=False)]
    candidates = [s.candidates + c for s, c in zip(states, columns, strict=False)]
    owners = np.repeat(np.arange(len(states)), [len(s.candidates) for s in states])
    return Batch(
        torch.from_numpy(np.concatenate([s.constraints for s in states])),
        torch.from_numpy(np.concatenate(edges, axis=1)),
        torch.from_numpy(np.concatenate([s.weights for s in states]))[:, None],
        torch.from_numpy(np.concatenate([s.variables for s in states])),
        torch.from_numpy(np.concatenate(candidates)),
        torch.from_numpy(owners),
        len(states),
    )


class PreNorm(nn.Module):
    """A fixed affine map x -> (x - shift) * scale, estimated on training data before training."""

    shift: Tensor
    scale: Tensor

    def __init__(self, width: int, *, shifts: bool = True) -> None:
        super().__init__()
        self._shifts = shifts
        self.register_buffer("shift", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    def estimate(self, x: Tensor) -> None:
        """Set shift and scale so that each column of ``x`` (rows, width) has mean 0, variance 1."""
        mean = x.mean(0) if self._shifts else torch.zeros_like(self.shift)
        spread = (x - mean).square().mean(0).sqrt()
        self.shift.copy_(mean)
        self.scale.copy_(torch.where(spread > 1e-6, 1.0 / spread, torch.ones_like(spread)))

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized rows."""
        normalized: Tensor = (x - self.shift if self._shifts else x) * self.scale
        return normalized


class HalfConvolution(nn.Module):
    """Passes messages from one side of the graph to the other and updates that side.

    The message along an edge is Dense(ReLU(scale * (W_l h_l + W_e e + W_r h_r))); messages are
    summed, scaled, and joined to the receiver's own embedding before two dense layers.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.sender = nn.Linear(width, width, bias=False)
        self.edge = nn.Linear(1, width, bias=False)
        self.receiver = nn.Linear(width, width)
        self.before = PreNorm(width, shifts=False)
        self.message = nn.Linear(width, width)
        self.after = PreNorm(width, shifts=False)
        self.update = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, width))

    def joint(self, senders: Tensor, receivers: Tensor, edges: Tensor, weights: Tensor) -> Tensor:
        """Return (e, width): what activations see. ``edges``: sender, receiver.

        The normalization only scales, so it is applied to the nodes, of which there are fewer.
        """
        from_senders = self.before(self.sender(senders)).index_select(0, edges[0])
        from_receivers = self.before(self.receiver(receivers)).index_select(0, edges[1])
        joint: Tensor = from_senders + from_receivers + weights * self.before(self.edge.weight.T)
        return joint

    def total(self, joint: Tensor, edges: Tensor, receivers: int) -> Tensor:
        """Return (receivers, width): the summed messages."""
        # The last layer of a message is linear: it is applied to the sum, once a receiver.
        active = torch.relu(joint)
        sums = active.new_zeros(receivers, active.shape[1]).index_add(0, edges[1], active)
        degree = torch.bincount(edges[1], minlength=receivers)
        total: Tensor = self.message(sums) + (degree - 1)[:, None] * self.message.bias
        return total

    def forward(self, senders: Tensor, receivers: Tensor, edges: Tensor, weights: Tensor) -> Tensor:
        """Return (receivers, width) new embeddings of the receiving side."""
        joint = self.joint(senders, receivers, edges, weights)
        received = self.after(self.total(joint, edges, len(receivers)))
        updated: Tensor = self.update(torch.cat([received, receivers], dim=1))
        return updated


class Policy(nn.Module):
    """Scores the candidates of a state: embeddings, two half convolutions, an MLP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.constraint_norm = PreNorm(CONSTRAINT_FEATURES)
        self.variable_norm = PreNorm(VARIABLE_FEATURES)
        self.edge_norm = PreNorm(1)
        self.constraint_embedding = _two_layers(CONSTRAINT_FEATURES, width)
        self.variable_embedding = _two_layers(VARIABLE_FEATURES, width)
        self.to_constraints = HalfConvolution(width)
        self.to_variables = HalfConvolution(width)
        self.output = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1, bias=False)
        )
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.orthogonal_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, batch: Batch) -> Tensor:
        """Return (k,) scores of all candidates of the batch."""
        back = batch.edges.flip(0)
        weights = self.edge_norm(batch.weights)
        constraints = self.constraint_embedding(self.constraint_norm(batch.constraints))
        variables = self.variable_embedding(self.variable_norm(batch.variables))
        constraints = torch.relu(self.to_constraints(variables, constraints, back, weights))
        variables = torch.relu(self.to_variables(constraints, variables, batch.edges, weights))
        scores: Tensor = self.output(variables[batch.candidates]).squeeze(-1)
        return scores

    @torch.no_grad()
    def estimate_norms(self, batch: Batch) -> None:
        """Estimate every pre-normalization layer on training data, from the input outwards."""
        back = batch.edges.flip(0)
        self.constraint_norm.estimate(batch.constraints)
        self.variable_norm.estimate(batch.variables)
        self.edge_norm.estimate(batch.weights)
        weights = self.edge_norm(batch.weights)
        constraints = self.constraint_embedding(self.constraint_norm(batch.constraints))
        variables = self.variable_embedding(self.variable_norm(batch.variables))
        steps = ((self.to_constraints, back), (self.to_variables, batch.edges))
        sides = [variables, constraints]
        for convolution, edges in steps:
            senders, receivers = sides
            convolution.before.estimate(convolution.joint(senders, receivers, edges, weights))
            joint = convolution.joint(senders, receivers, edges, weights)
            convolution.after.estimate(convolution.total(joint, edges, len(receivers)))
            updated = torch.relu(convolution(senders, receivers, edges, weights))
            sides = [updated, senders]

    @torch.inference_mode()
    def score(self, state: State) -> Array:
        """Return (k,) scores of one state's candidates; a scorer for branching."""
        scores: np.ndarray[Any, Any] = self(collate([state])).numpy()
        return scores


def _two_layers(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
