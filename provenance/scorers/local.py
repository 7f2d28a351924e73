"""Scoring a model that runs here, with transformers.

Fast because of three things: rows of like length share a batch, so that little is padded; only the
positions that count go through the LM head; and the head works in chunks, so that no tensor of
(batch, length, vocabulary) ever exists. Rows are padded on the right and attention is causal:
no real token can attend to padding, and no mask is needed.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM, PreTrainedModel

from provenance.scorers.base import (
    LogProbs,
    Progress,
    Row,
    ScorerError,
    Window,
    checked_rows,
)
from provenance.scorers.shards import Shards

_HEAD_TOKENS = 256  # positions that go through the LM head at once
_BUDGET = {"cpu": 512, "other": 16_384}  # tokens a batch, padding included
_SHARD_TOKENS = 32_768  # tokens after which a shard is written
_PROBE = 8  # tokens on which backbone + head is compared with the whole model

Backbone = Callable[[torch.Tensor], torch.Tensor]


class TransformersScorer:
    """Scores token ids with a causal language model of transformers.

    The result equals the full-vocabulary log-softmax of each row alone up to rounding.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        name: str | None = None,
        window: Window | None = None,
        token_budget: int | None = None,
        shards: Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Score with a loaded model; its device and type are used as they are.

        Args:
            model: a causal language model.
            name: how results call it; its own ``name_or_path`` by default.
            window: which tokens count; all but the first by default.
            token_budget: tokens a forward pass, padding included; the default fits the device.
            shards: folder for finished parts; a later call with the same model and rows reads
                them instead of computing them again.
            progress: called with rows done and all rows.
        """
        self.name = name or getattr(model, "name_or_path", "") or type(model).__name__
        self._model = model
        self._window = window or Window()
        kind = "cpu" if model.device.type == "cpu" else "other"
        self._budget = token_budget or _BUDGET[kind]
        self._folder = shards
        self._progress = progress

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        revision: str | None = None,
        dtype: torch.dtype = torch.float32,
        device: str | None = None,
        **options: Any,
    ) -> "TransformersScorer":
        """Load a model by its hub id, or from a folder or a GGUF file, and score with it.

        Args:
            source: an id of the hub, a folder, or a path that ends in ``.gguf`` (its weights are
                dequantized).
            revision: branch, tag or commit on the hub.
            dtype: type of the weights; ``torch.bfloat16`` halves memory, log-probabilities are
                still computed in fp32 from the logits.
            device: CUDA where there is one, else CPU.
            **options: as for the constructor.

        Raises:
            ScorerError: the model cannot be had.
        """
        where = device or ("cuda" if torch.cuda.is_available() else "cpu")
        path = Path(source)
        arguments: dict[str, Any] = {"dtype": dtype}
        if revision is not None:
            arguments["revision"] = revision
        folder = str(source)
        if path.suffix == ".gguf":
            folder, arguments["gguf_file"] = str(path.parent), path.name
        try:
            model: Any = AutoModelForCausalLM.from_pretrained(folder, **arguments)
        except (OSError, ValueError, ImportError) as error:
            raise ScorerError(
                f"cannot load {source}: {str(error).strip().splitlines()[0]};"
                " check the name, the network, and that GGUF files have gguf and accelerate"
            ) from error
        return cls(model.to(where), **{"name": str(source), **options})

    def log_probs(self, rows: Sequence[Row]) -> list[LogProbs]:
        """Return log p of each token that counts, in nats; see ``Scorer``.

        Raises:
            ScorerError: rows that are too short or too long for the model, padded, or made by
                another tokenizer.
        """
        tokens = checked_rows(rows, _vocabulary(self._model))
        bounds = [self._window.bounds(len(row)) for row in tokens]
        self._refuse_long(max((stop for _, stop in bounds), default=0))
        plan = batches([stop for _, stop in bounds], self._budget)
        result: list[LogProbs] = [np.empty(0)] * len(tokens)
        done = 0
        with _evaluating(self._model):
            compute = _Forward(self._model) if plan else None
            shards = Shards(self._folder, self._identity()) if self._folder else None
            for group in _groups(plan, [stop for _, stop in bounds]):
                for index, values in self._group(compute, shards, group, tokens, bounds):
                    result[index] = values
                    done += 1
                if self._progress:
                    self._progress(done, len(tokens))
        return result

    def _group(
        self,
        compute: "_Forward | None",
        shards: Shards | None,
        group: list[NDArray[np.int64]],
        tokens: list[Row],
        bounds: list[tuple[int, int]],
    ) -> list[tuple[int, LogProbs]]:
        order = [int(i) for batch in group for i in batch]
        rows = [tokens[i][: bounds[i][1]] for i in order]
        lengths = [bounds[i][1] - bounds[i][0] for i in order]
        values = shards.read(rows, lengths) if shards else None
        if values is None:
            assert compute is not None
            values = [
                part
                for batch in group
                for part in compute([tokens[i] for i in batch], [bounds[i] for i in batch])
            ]
            if shards:
                shards.write(rows, values)
        return list(zip(order, values, strict=True))

    def _refuse_long(self, longest: int) -> None:
        limit = getattr(self._model.config, "max_position_embeddings", None)
        if limit is not None and longest - 1 > limit:
            raise ScorerError(
                f"a row needs {longest - 1} positions, the model has {limit}: use a window"
            )

    @property
    def digest(self) -> str:
        """Hex sha256 over class, config and weights of the model."""
        return model_digest(self._model)

    def _identity(self) -> str:
        return f"{self.digest}:{self._window.prefix}:{self._window.next}"


def model_digest(model: PreTrainedModel) -> str:
    """Return the sha256 over class, config and weights of a model, 64 hex digits."""
    whole = hashlib.sha256(f"{type(model).__name__}\0{model.config.to_json_string()}".encode())
    for name, tensor in sorted(model.state_dict().items()):
        whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        whole.update(flat.view(torch.uint8).numpy().tobytes())
    return whole.hexdigest()


def batches(lengths: Sequence[int], budget: int) -> list[NDArray[np.int64]]:
    """Cut rows, sorted by length, into batches of at most ``budget`` tokens, padding included.

    A row longer than the budget has a batch of its own.

    Returns:
        Indices of the rows of each batch, the longest rows first: if memory does not suffice,
        that shows at once.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    result: list[NDArray[np.int64]] = []
    start = 0
    while start < len(order):
        rows = max(1, budget // lengths[order[start]])
        result.append(order[start : start + rows])
        start += rows
    return result


def _groups(
    plan: list[NDArray[np.int64]], lengths: Sequence[int]
) -> Iterator[list[NDArray[np.int64]]]:
    """Join consecutive batches until they hold a shard's worth of tokens."""
    group: list[NDArray[np.int64]] = []
    tokens = 0
    for batch in plan:
        group.append(batch)
        tokens += sum(lengths[i] for i in batch)
        if tokens >= _SHARD_TOKENS:
            yield group
            group, tokens = [], 0
    if group:
        yield group


class _Parts(NamedTuple):
    """A causal language model in two parts."""

    backbone: Backbone
    head: Callable[[torch.Tensor], torch.Tensor]


class _Forward:
    """Computes log-probabilities of one batch."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._parts = _split(model)

    def __call__(self, rows: list[Row], bounds: list[tuple[int, int]]) -> list[LogProbs]:
        width = max(stop for _, stop in bounds) - 1
        inputs = np.zeros((len(rows), width), dtype=np.int64)
        for target, row, (_, stop) in zip(inputs, rows, bounds, strict=True):
            target[: stop - 1] = row[: stop - 1]
        # The state at flat position p predicts the token that follows it.
        keep = np.concatenate(
            [n * width + np.arange(a - 1, b - 1) for n, (a, b) in enumerate(bounds)]
        )
        targets = np.concatenate([row[a:b] for row, (a, b) in zip(rows, bounds, strict=True)])
        flat = self._flat(inputs, keep, targets)
        return np.split(flat, np.cumsum([b - a for a, b in bounds])[:-1])

    def _flat(
        self, inputs: NDArray[np.int64], keep: NDArray[np.int64], targets: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        device = self._model.device
        ids = torch.from_numpy(inputs).to(device)
        if self._parts is None:
            states = self._model(input_ids=ids, use_cache=False).logits.flatten(0, 1)
            head: Callable[[torch.Tensor], torch.Tensor] = torch.nn.Identity()
        else:
            states = self._parts.backbone(ids).flatten(0, 1)
            head = self._parts.head
        states = states[torch.from_numpy(keep).to(device)]
        wanted = torch.from_numpy(targets).to(device)
        parts = [
            _log_probs(head(state).float(), target)
            for state, target in zip(
                torch.split(states, _HEAD_TOKENS), torch.split(wanted, _HEAD_TOKENS), strict=True
            )
        ]
        result: NDArray[np.float64] = torch.cat(parts).double().cpu().numpy()
        return result


def _vocabulary(model: PreTrainedModel) -> int:
    embeddings: Any = model.get_input_embeddings()
    return int(embeddings.num_embeddings)


def _log_probs(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the target's logit minus the logsumexp of all, shape (positions,)."""
    chosen = logits.gather(1, targets[:, None]).squeeze(1)
    return chosen - logits.logsumexp(dim=1)


def _split(model: PreTrainedModel) -> _Parts | None:
    """Return backbone and head, or None if the model does more than apply one after the other.

    Some models scale or cap the logits after the head; so the parts are compared with the whole
    once, and used only if they agree.
    """
    inner: Any = model
    if hasattr(inner, "get_base_model"):  # of peft
        inner = inner.get_base_model()
    body: Any = getattr(inner, getattr(inner, "base_model_prefix", "") or "-", None)
    head: Any = inner.get_output_embeddings()
    if body is None or head is None:
        return None

    def backbone(ids: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = body(input_ids=ids, use_cache=False).last_hidden_state
        return states

    probe = (torch.arange(_PROBE, device=model.device) * 7919 % _vocabulary(model))[None]
    whole = model(input_ids=probe, use_cache=False).logits
    try:
        parts = head(backbone(probe))
    except (AttributeError, TypeError, RuntimeError):
        return None
    if parts.shape != whole.shape or not torch.allclose(parts, whole, rtol=1e-4, atol=1e-4):
        return None
    return _Parts(backbone, head)


@contextmanager
def _evaluating(model: PreTrainedModel) -> Iterator[None]:
    training = model.training
    model.train(False)
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(training)
