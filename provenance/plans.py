"""Orders drawn from a seed before training, and what they will make a run consume."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provenance import merkle
from provenance.errors import BadTranscript
from provenance.transcript import Leaves, token_digest

Integers = NDArray[np.int64]


class ShuffledSampler:
    """Draws a fresh uniform order of n examples each epoch; a ``sampler`` for torch's DataLoader.

    The order of an epoch depends on the seed and the epoch alone, so that the whole run is known,
    and can be committed to, before it starts, and a resumed run continues the same order.

    Attributes:
        seed: decides all orders; keep it secret until the order is opened.
        epoch: whose order iteration follows.
    """

    def __init__(self, n: int, seed: int) -> None:
        """Shuffle the numbers from 0 to n - 1."""
        self.n, self.seed, self.epoch = n, seed, 0

    def order(self, epoch: int) -> Integers:
        """Return the order of an epoch, shape (n,)."""
        return np.random.default_rng([self.seed, epoch]).permutation(self.n)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order iteration follows."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Return the number of examples of an epoch."""
        return self.n

    def __iter__(self) -> Iterator[int]:
        """Yield the numbers of the examples in the epoch's order."""
        return iter(self.order(self.epoch).tolist())


def index_batches(loader: Any, sampler: ShuffledSampler, epochs: int) -> list[list[list[int]]]:
    """Return for each epoch the batches of example numbers that ``loader`` will fetch here.

    They come from the loader's own batch sampler, so that whatever shards, drops or repeats
    examples on the way (several processes, last batches) is in the plan. No example is fetched.

    Raises:
        BadTranscript: the loader does not draw from ``sampler``.
    """
    batches = getattr(loader, "batch_sampler", None)
    source = batches
    while source is not None and source is not sampler:
        source = getattr(source, "batch_sampler", None) or getattr(source, "sampler", None)
    if source is None:
        raise BadTranscript(
            "the data loader does not draw from this sampler: build it with"
            " DataLoader(dataset, sampler=sampler, batch_size=...) over a dataset with a length, or"
            " commit to data and seed with commit_data"
        )
    before, plan = sampler.epoch, []
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        plan.append([list(batch) for batch in batches or ()])
    sampler.set_epoch(before)
    return plan


def planned_leaves(
    ranks: Sequence[list[list[list[int]]]],
    digest_of: Callable[[int], bytes],
    accumulation: int,
    max_steps: int | None = None,
) -> Leaves:
    """Return the leaves of the transcript that a run will leave.

    Args:
        ranks: ``index_batches`` of every process.
        digest_of: returns the token digest of an example by its number.
        accumulation: batches an optimizer step; the last step of an epoch may have fewer.
        max_steps: where the run ends, if before its last epoch does.
    """
    examples: list[int] = []
    steps: list[int] = []
    epochs: list[int] = []
    first = 0
    for epoch, shards in enumerate(zip(*ranks, strict=True)):
        for batches in shards:
            for number, batch in enumerate(batches):
                examples += batch
                steps += [first + number // accumulation] * len(batch)
                epochs += [epoch] * len(batch)
        first += -(-max(map(len, shards)) // accumulation)
    kept = np.array(steps, np.int64) < (first if max_steps is None else max_steps)
    chosen, back = np.unique(np.array(examples, np.int64)[kept], return_inverse=True)
    table = np.frombuffer(b"".join(digest_of(int(i)) for i in chosen), np.uint8)
    digests = table.reshape(-1, merkle.WIDTH)[back]
    return Leaves(np.array(epochs, np.int64)[kept], np.array(steps, np.int64)[kept], digests)


def data_leaves(rows: Iterable[Any]) -> Leaves:
    """Return the leaves of data in its own order: example i at position i, one stratum."""
    digests = b"".join(token_digest(row_of(row)) for row in rows)
    table = np.frombuffer(digests, np.uint8).reshape(-1, merkle.WIDTH)
    numbers = np.arange(len(table))
    return Leaves(np.zeros_like(numbers), numbers, table)


def rows_of(batch: Any) -> list[Integers]:
    """Return the token ids of each example of a batch, padding removed.

    Args:
        batch: a mapping with ``input_ids`` and perhaps ``attention_mask`` (0 where padded), or the
            ids alone, shape (examples, length) or a list of lists; a tuple or list of tensors
            gives its first.

    Raises:
        BadTranscript: none of these.
    """
    ids, mask = _ids_and_mask(batch)
    if isinstance(ids, tuple | list) and len(ids) and getattr(ids[0], "ndim", 1) == 2:
        ids = ids[0]
    table = [_array(row) for row in (_array(ids) if hasattr(ids, "shape") else ids)]
    if any(row.ndim != 1 for row in table):
        raise BadTranscript("a batch must be token ids of shape (examples, length): pass rows=...")
    if mask is None:
        return table
    return [row[_array(m) != 0] for row, m in zip(table, mask, strict=True)]


def row_of(example: Any) -> Integers:
    """Return the token ids of one example: a mapping as in ``rows_of``, or ids of shape (length,).

    Raises:
        BadTranscript: none of these.
    """
    ids, mask = _ids_and_mask(example)
    row = _array(ids)
    if row.ndim != 1:
        raise BadTranscript(f"an example must be token ids of shape (length,), not {row.shape}")
    return row if mask is None else row[_array(mask) != 0]


def _ids_and_mask(batch: Any) -> tuple[Any, Any]:
    if not isinstance(batch, Mapping):
        return batch, None
    if "input_ids" not in batch:
        raise BadTranscript(f"no `input_ids` among {', '.join(map(str, batch))}: pass rows=...")
    ids, mask = batch["input_ids"], batch.get("attention_mask")
    same = mask is not None and getattr(mask, "shape", None) == getattr(ids, "shape", None)
    return ids, mask if same else None


def _array(values: Any) -> Integers:
    # Tensors of torch, wherever they live, without importing torch.
    plain = values.detach().cpu() if hasattr(values, "detach") else values
    array = np.asarray(plain)
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise BadTranscript(f"token ids must be integers, got {array.dtype}")
    return array.astype(np.int64)
