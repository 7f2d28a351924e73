"""Which answer wins: log-probabilities of given answers, or greedy generation.

Answers to one prompt share one row: prompt, then each answer's tokens but the last, every answer
seeing the prompt and itself only. An intervention at layer l is computed from layer l on, from the
kept input of that layer: the same numbers as a whole forward pass, at a fraction of its time.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from stemma.models.scoring import evaluating
from stemma.papers.factual_recall import heads
from stemma.papers.factual_recall.heads import Scaling

Floats = NDArray[np.float64]

IN_CONTEXT, MEMORISED, NEITHER = 1, 0, -1
NEW_TOKENS = 15


class Question(NamedTuple):
    """Token ids of a prompt and of its possible answers; all questions of a call have as many."""

    prompt: tuple[int, ...]
    answers: tuple[tuple[int, ...], ...]


class LogProbs(NamedTuple):
    """Log-probabilities in nats, both of shape (interventions, questions, answers).

    Attributes:
        whole: of all tokens of the answer.
        first: of its first token.
    """

    whole: Floats
    first: Floats


class Packed(NamedTuple):
    """A batch of questions, one a row, and where each answer token is predicted.

    ``tokens`` and ``positions`` have shape (rows, length); ``mask`` has shape (rows, 1, length,
    length), and is 0 where a token may look. Each answer token has an entry in ``row``, ``column``
    (where its prediction stands), ``token``, ``answer`` and ``is_first``. ``last`` is each prompt's
    last column.
    """

    tokens: Tensor
    positions: Tensor
    mask: Tensor
    row: Tensor
    column: Tensor
    token: Tensor
    answer: Tensor
    is_first: Tensor
    last: Tensor


def pack(questions: Sequence[Question], dtype: torch.dtype = torch.float32) -> Packed:
    """Lay out a batch; rows are padded on the right."""
    length = max(len(q.prompt) + sum(len(a) - 1 for a in q.answers) for q in questions)
    tokens = torch.zeros(len(questions), length, dtype=torch.long)
    positions = torch.zeros_like(tokens)
    sees = torch.eye(length, dtype=torch.bool).repeat(len(questions), 1, 1)
    targets: list[tuple[int, int, int, int, bool]] = []
    for row, (prompt, answers) in enumerate(questions):
        end = len(prompt)
        tokens[row, :end] = torch.tensor(prompt)
        positions[row, :end] = torch.arange(end)
        sees[row, :end, :end] = torch.ones(end, end).tril().bool()
        start = end
        for index, answer in enumerate(answers):
            size = len(answer) - 1
            own = slice(start, start + size)
            tokens[row, own] = torch.tensor(answer[:-1], dtype=torch.long)
            positions[row, own] = torch.arange(end, end + size)
            sees[row, own, :end] = True
            sees[row, own, own] = torch.ones(size, size).tril().bool()
            columns = [end - 1, *range(start, start + size)]
            targets += [
                (row, c, t, index, j == 0)
                for j, (c, t) in enumerate(zip(columns, answer, strict=True))
            ]
            start += size
    mask = torch.zeros(sees.shape, dtype=dtype).masked_fill(~sees, torch.finfo(dtype).min)
    row_of, column, token, answer_of, is_first = (
        torch.tensor(values) for values in zip(*targets, strict=True)
    )
    last = torch.tensor([len(q.prompt) - 1 for q in questions])
    return Packed(
        tokens, positions, mask[:, None], row_of, column, token, answer_of, is_first, last
    )


def batches(
    questions: Sequence[Question], model: PreTrainedModel, size: int
) -> Iterator[tuple[NDArray[np.int64], Packed]]:
    """Yield (indices, packed questions) by length, on the model's device."""
    lengths = [len(q.prompt) + sum(map(len, q.answers)) for q in questions]
    order = np.argsort(lengths, kind="stable")
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        packed = pack([questions[i] for i in chosen], model.dtype)
        yield chosen, Packed(*(part.to(model.device) for part in packed))


def log_probs(
    model: PreTrainedModel,
    questions: Sequence[Question],
    scalings: Sequence[Scaling] = ({},),
    batch_size: int = 32,
) -> LogProbs:
    """Return how likely each answer is under each intervention; an empty one is the plain model."""
    size = (len(scalings), len(questions), len(questions[0].answers))
    result = LogProbs(np.empty(size), np.empty(size))
    starts = [_first_layer(model, scaling) for scaling in scalings]
    with evaluating(model):
        for chosen, packed in batches(questions, model, batch_size):
            kept = _layer_inputs(model, packed, set(starts) - {0})
            for i, (scaling, start) in enumerate(zip(scalings, starts, strict=True)):
                with heads.scaled(model, scaling):
                    hidden = _run(model, packed, start, kept.get(start))
                for values, found in zip(result, _read(model, packed, hidden), strict=True):
                    values[i, chosen] = found
    return result


def attributions(
    model: PreTrainedModel, questions: Sequence[Question], batch_size: int = 32
) -> Floats:
    """Return what each head adds to logit(first token of answer 0) - logit(that of answer 1).

    Returns:
        Shape (questions, layers, heads): at the last position of each prompt.
    """
    found = heads.parts(model)
    watch = dict(enumerate([*found.outputs, found.norm]))
    result = np.empty((len(questions), *heads.shape(model)))
    unembedding = _unembedding(model).weight
    prompts = [q._replace(answers=tuple(a[:1] for a in q.answers)) for q in questions]
    with evaluating(model):
        for chosen, packed in batches(prompts, model, batch_size):
            with heads.watched(watch) as seen:
                _run(model, packed, 0, None)
            rows = torch.arange(len(chosen), device=packed.last.device)
            *z, residual = [seen[key][rows, packed.last] for key in watch]
            first = packed.token.view(len(chosen), -1)
            direction = unembedding[first[:, 0]] - unembedding[first[:, 1]]
            result[chosen] = heads.attribute(model, z, residual, direction).double().cpu().numpy()
    return result


def _first_layer(model: PreTrainedModel, scaling: Scaling) -> int:
    """Return the layer from which on a scaling changes anything (0: the whole pass is needed)."""
    if not scaling or not heads.parts(model).resumable:
        return 0
    return min(head.layer for head in scaling)


def _layer_inputs(model: PreTrainedModel, packed: Packed, layers: set[int]) -> dict[int, Tensor]:
    if not layers:
        return {}
    blocks = heads.parts(model).layers
    with heads.watched({layer: blocks[layer] for layer in layers}) as kept:
        _run(model, packed, 0, None)
    return kept


def _run(model: PreTrainedModel, packed: Packed, start: int, inputs: Tensor | None) -> Tensor:
    """Return the body's output, from block ``start`` on with its ``inputs`` (None: from tokens)."""
    given = {"input_ids": packed.tokens} if inputs is None else {"inputs_embeds": inputs}
    options: dict[str, Any] = {"position_ids": packed.positions, "use_cache": False}
    body = heads.parts(model).body
    if inputs is None:
        return _hidden(body(**given, attention_mask=packed.mask, **options))
    with heads.starting_at(model, start):
        return _hidden(body(**given, attention_mask=packed.mask, **options))


def _hidden(output: Any) -> Tensor:
    hidden: Tensor = output.last_hidden_state
    return hidden


def _unembedding(model: Any) -> Any:
    return model.get_output_embeddings()


def _read(model: PreTrainedModel, packed: Packed, hidden: Tensor) -> tuple[Floats, Floats]:
    """Return (whole, first) log-probabilities of a batch, each of shape (rows, answers)."""
    logits = _unembedding(model)(hidden[packed.row, packed.column]).float()
    found = logits.log_softmax(dim=-1).gather(1, packed.token[:, None])[:, 0].double()
    size = (len(packed.tokens), int(packed.answer.max()) + 1)
    both = []
    for part in (found, found * packed.is_first):
        total = torch.zeros(size, dtype=torch.double, device=found.device)
        total.index_put_((packed.row, packed.answer), part, accumulate=True)
        both.append(total.cpu().numpy())
    return both[0], both[1]


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    scaling: Scaling,
    batch_size: int = 32,
    new_tokens: int = NEW_TOKENS,
) -> list[str]:
    """Return the greedy continuation of each prompt, in its whole length."""
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    texts: list[str] = []
    generator: Any = model
    with evaluating(model), heads.scaled(model, scaling):
        for start in range(0, len(prompts), batch_size):
            part = list(prompts[start : start + batch_size])
            inputs = tokenizer(part, padding=True, padding_side="left", return_tensors="pt")
            inputs = inputs.to(model.device)
            output = generator.generate(
                **inputs,
                do_sample=False,
                max_new_tokens=new_tokens,
                pad_token_id=tokenizer.pad_token_id,
            )
            new = output[:, inputs["input_ids"].shape[1] :]
            texts += tokenizer.batch_decode(new, skip_special_tokens=True)
    return texts


def judge(continuation: str, capitals: Iterable[str], city: str) -> int:
    """Return the paper's score of a continuation (authors' code: a true capital counts first)."""
    answer = continuation.split("Q:")[0]
    if any(capital in answer for capital in capitals):
        return MEMORISED
    return IN_CONTEXT if city in answer else NEITHER
