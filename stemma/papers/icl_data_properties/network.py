"""The sequence models: an image encoder, label embeddings, and a transformer or recurrent core.

Items and labels alternate, image, label, ..., image: 2 * length - 1 tokens of width d. The logits
over all labels are read at the last token, the query's image.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

_PERIOD = 30.0  # of the slowest position signal: max_time in the authors' code


@dataclass(frozen=True)
class Spec:
    """A model.

    Attributes:
        arch: ``transformer``, ``lstm`` or ``rnn``.
        layers: of the core.
        width: of tokens and hidden states.
        heads: of attention.
        encoder: ``pca_linear`` (one linear layer on given features), ``small_resnet``, ``resnet``.
    """

    arch: str = "transformer"
    layers: int = 2
    width: int = 64
    heads: int = 8
    encoder: str = "pca_linear"


class Block(nn.Module):
    """Two 3x3 convolutions with batch normalisation and a shortcut (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        """Halve the picture if ``stride`` is 2."""
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        same = inputs == outputs and stride == 1
        self.shortcut: nn.Module = (
            nn.Identity()
            if same
            else nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return features of pictures, both (batch, channels, height, width)."""
        return torch.relu(self.main(x) + self.shortcut(x))


def make_resnet(width: int, *, small: bool) -> nn.Sequential:
    """Return a residual network from (batch, 1, side, side) to (batch, width).

    The paper's has groups of 2, 2, 2, 2 blocks with 16, 32, 32, ``width`` channels after a 7x7 stem
    with stride 2 and max-pooling; the small one three single blocks after a 3x3 stem.
    """
    channels, blocks = ((16, 32, width), 1) if small else ((16, 32, 32, width), 2)
    stem = nn.Conv2d(1, 16, 3, 1, 1, bias=False) if small else nn.Conv2d(1, 16, 7, 2, 3, bias=False)
    layers: list[nn.Module] = [stem, nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    inputs = 16
    for group, outputs in enumerate(channels):
        for block in range(blocks):
            layers.append(Block(inputs, outputs, 2 if group > 0 and block == 0 else 1))
            inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def position_signals(length: int, width: int) -> Tensor:
    """Return sinusoidal positions, shape (length, width): sines, then cosines."""
    rates = _PERIOD ** -(torch.arange(0, width, 2) / width)
    angles = torch.arange(length)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class Attention(nn.Module):
    """A causal pre-norm transformer, widening 4, GELU, no dropout."""

    def __init__(self, spec: Spec) -> None:
        """Initialize every layer on its own (``nn.TransformerEncoder`` would copy one)."""
        super().__init__()
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                spec.width,
                spec.heads,
                4 * spec.width,
                0.0,
                "gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(spec.layers)
        )
        self.norm = nn.LayerNorm(spec.width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the last token's state (batch, width) of tokens (batch, length, width)."""
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1], device=tokens.device)
        for layer in list(self.layers)[:-1]:
            tokens = layer(tokens, src_mask=mask, is_causal=True)
        state: Tensor = self.norm(last_state(self.layers[-1], tokens))
        return state


def last_state(layer: nn.Module, tokens: Tensor) -> Tensor:
    """Return what a transformer layer makes of the last token, which sees all: (batch, width).

    The loss reads no other token, so the last layer need not compute the others.
    """
    assert isinstance(layer, nn.TransformerEncoderLayer)
    seen = layer.norm1(tokens)
    last = tokens[:, -1:] + layer.self_attn(seen[:, -1:], seen, seen, need_weights=False)[0]
    inner = layer.activation(layer.linear1(layer.norm2(last)))
    state: Tensor = last + layer.linear2(inner)
    return state[:, 0]


class Recurrence(nn.Module):
    """Layers of an LSTM or of a plain recurrent network with rectifiers."""

    def __init__(self, spec: Spec) -> None:
        """Hidden states are as wide as tokens."""
        super().__init__()
        shape = spec.width, spec.width, spec.layers
        self.core: nn.RNNBase = (
            nn.LSTM(*shape, batch_first=True)
            if spec.arch == "lstm"
            else nn.RNN(*shape, nonlinearity="relu", batch_first=True)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the last token's state (batch, width) of tokens (batch, length, width)."""
        states: Tensor = self.core(tokens)[0]
        return states[:, -1]


class SequenceModel(nn.Module):
    """Labels the last item of a sequence."""

    positions: Tensor

    def __init__(self, spec: Spec, n_labels: int, n_features: int, length: int) -> None:
        """Build the model.

        Args:
            spec: encoder and core.
            n_labels: labels that are embedded and predicted.
            n_features: of the encoder ``pca_linear``.
            length: items of a sequence.
        """
        super().__init__()
        self.encoder: nn.Module = (
            nn.Linear(n_features, spec.width)
            if spec.encoder == "pca_linear"
            else make_resnet(spec.width, small=spec.encoder == "small_resnet")
        )
        self.pictures = spec.encoder != "pca_linear"
        self.embedding = nn.Embedding(n_labels, spec.width)
        nn.init.trunc_normal_(self.embedding.weight, std=0.02, a=-0.04, b=0.04)
        self.core = Attention(spec) if spec.arch == "transformer" else Recurrence(spec)
        self.head = nn.Linear(spec.width, n_labels)
        self.register_buffer("positions", position_signals(2 * length - 1, spec.width))

    def forward(self, stimuli: Tensor, labels: Tensor) -> Tensor:
        """Return logits (batch, n_labels).

        Args:
            stimuli: (batch, length, features) or (batch, length, side, side).
            labels: of the context, (batch, length - 1).
        """
        items = self.encode(stimuli)
        pairs = torch.stack([items[:, :-1], self.embedding(labels)], dim=2).flatten(1, 2)
        tokens = torch.cat([pairs, items[:, -1:]], dim=1) + self.positions
        logits: Tensor = self.head(self.core(tokens))
        return logits

    def encode(self, stimuli: Tensor) -> Tensor:
        """Return item embeddings, shape (batch, length, width)."""
        flat = stimuli.flatten(0, 1)
        encoded: Tensor = self.encoder(flat[:, None] if self.pictures else flat)
        return encoded.reshape(*stimuli.shape[:2], -1)
