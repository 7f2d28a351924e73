"""GRUs trained side by side: sequence models so small that every sequence can be enumerated.

A stack of G networks is a dict of parameters with G as their first axis; the networks share
nothing. Tokens are 0..V-1; index V of the input table begins a sequence.
"""

import torch
from torch import Generator, Tensor
from torch.nn import functional

Stack = dict[str, Tensor]

HIDDEN = 16
_INPUT_GAIN, _RECURRENT_GAIN, _OUTPUT_GAIN = 1.5, 1.5, 2.0


def random_gru(seed: int, vocabulary: int, hidden: int = HIDDEN) -> Stack:
    """Return one random GRU (a stack of one), whose next-token distributions are far from uniform.

    The gains are large enough that the distribution over sequences is peaked, as a language
    model's is.
    """
    generator = Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(1, *shape, generator=generator)

    return {
        "inputs": _INPUT_GAIN * normal(vocabulary + 1, 3 * hidden),
        "recurrent": _RECURRENT_GAIN * normal(hidden, 3 * hidden) / hidden**0.5,
        "recurrent_bias": torch.zeros(1, 1, 3 * hidden),
        "outputs": _OUTPUT_GAIN * normal(hidden, vocabulary) / hidden**0.5,
        "output_bias": torch.zeros(1, 1, vocabulary),
    }


def stack(networks: list[Stack]) -> Stack:
    """Join stacks along their first axis, copying."""
    return {name: torch.cat([n[name] for n in networks]) for name in networks[0]}


def select(networks: Stack, rows: list[int]) -> Stack:
    """Return a copy of some networks of a stack."""
    return {name: value.detach()[rows].clone() for name, value in networks.items()}


def vocabulary_of(networks: Stack) -> int:
    """Return the number of tokens."""
    return networks["outputs"].shape[2]


def _cell(networks: Stack, tokens: Tensor, state: Tensor) -> Tensor:
    """One GRU step: tokens (G, n), state (G, n, H) -> state (G, n, H)."""
    table = networks["inputs"]
    first_rows = torch.arange(table.shape[0], device=table.device)[:, None] * table.shape[1]
    given = functional.embedding(tokens + first_rows, table.flatten(0, 1))
    kept = torch.baddbmm(networks["recurrent_bias"], state, networks["recurrent"])
    (r_in, z_in, n_in), (r, z, n) = given.chunk(3, dim=2), kept.chunk(3, dim=2)
    new = torch.tanh(n_in + torch.sigmoid(r_in + r) * n)
    return torch.lerp(new, state, torch.sigmoid(z_in + z))


def _next_log_probabilities(networks: Stack, state: Tensor) -> Tensor:
    logits = torch.baddbmm(networks["output_bias"], state, networks["outputs"])
    return logits.log_softmax(dim=2)


def _of(logs: Tensor, tokens: Tensor) -> Tensor:
    picked = functional.nll_loss(logs.flatten(0, 1), tokens.flatten(), reduction="none")
    return -picked.view(tokens.shape)


def _start(networks: Stack, n: int) -> tuple[Tensor, Tensor]:
    inputs = networks["inputs"]
    groups, hidden = inputs.shape[0], networks["outputs"].shape[1]
    tokens = torch.full((groups, n), inputs.shape[1] - 1, device=inputs.device)
    return tokens, inputs.new_zeros(groups, n, hidden)


def log_probability(networks: Stack, sequences: Tensor) -> Tensor:
    """Return log pi(x) of whole sequences, shape (G, n), for tokens of shape (G, n, length)."""
    tokens, state = _start(networks, sequences.shape[1])
    total = state.new_zeros(sequences.shape[:2])
    for column in sequences.unbind(dim=2):
        state = _cell(networks, tokens, state)
        logs = _next_log_probabilities(networks, state)
        total = total + _of(logs, column)
        tokens = column
    return total


def rollout(networks: Stack, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Draw sequences by inverting the cumulative distribution at given uniform numbers.

    Args:
        networks: the policies.
        uniform: in [0, 1), shape (G, n, length).

    Returns:
        Tokens (G, n, length) and log pi of each whole sequence (G, n), with gradient.
    """
    tokens, state = _start(networks, uniform.shape[1])
    total = state.new_zeros(uniform.shape[:2])
    drawn = []
    for u in uniform.unbind(dim=2):
        state = _cell(networks, tokens, state)
        logs = _next_log_probabilities(networks, state)
        cumulative = logs.detach().exp().cumsum(dim=2)
        tokens = (u[:, :, None] * cumulative[:, :, -1:] >= cumulative).sum(dim=2)
        tokens = tokens.clamp(max=logs.shape[2] - 1)
        total = total + _of(logs, tokens)
        drawn.append(tokens)
    return torch.stack(drawn, dim=2), total


def all_log_probabilities(networks: Stack, length: int) -> Tensor:
    """Return log pi of every sequence, shape (G, V^length), in lexicographic order."""
    size = vocabulary_of(networks)
    tokens, state = _start(networks, 1)
    total = state.new_zeros(state.shape[:2])
    for _ in range(length):
        state = _cell(networks, tokens, state)
        logs = _next_log_probabilities(networks, state)
        total = (total[:, :, None] + logs).flatten(1)
        tokens = torch.arange(size, device=total.device).repeat(state.shape[1])
        tokens = tokens.expand(total.shape[0], -1)
        state = state.repeat_interleave(size, dim=1)
    return total


def index_of(sequences: Tensor, vocabulary: int) -> Tensor:
    """Return the place of each sequence in lexicographic order: (..., length) -> (...)."""
    place = torch.zeros_like(sequences[..., 0])
    for column in sequences.unbind(dim=-1):
        place = place * vocabulary + column
    return place


def every_sequence(vocabulary: int, length: int) -> Tensor:
    """Return all sequences in lexicographic order, shape (V^length, length)."""
    return torch.cartesian_prod(*[torch.arange(vocabulary)] * length)
