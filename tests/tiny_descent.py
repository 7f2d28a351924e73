"""A tiny training run to test descent from: a transcript, a suspect, a stranger, a reference.

``python tests/tiny_descent.py DIR`` makes them in seconds.
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from real_text import documentation

from provenance.cli import ownership
from provenance.evidence import commitments
from provenance.store import write_transcript
from provenance.transcript import Transcript

EXAMPLES, VOCABULARY, WIDTH = 400, 200, 16


def make(folder: Path) -> None:
    """Write the folders ``transcript`` and three models of the same examples.

    ``suspect`` was trained in the order of the transcript, ``stranger`` and ``reference`` each in
    an order of its own.
    """
    rows = documentation(VOCABULARY, WIDTH)[:EXAMPLES]
    orders = [np.random.default_rng(seed).permutation(EXAMPLES) for seed in range(3)]
    ordered = Transcript.in_training_order(rows[orders[0]])
    stored = write_transcript(folder / "transcript", ordered)
    time = "2026-01-01T00:00:00Z"
    ownership.keep(stored.path, commitments.commit(stored.digest, len(stored), time))
    for name, order in zip(("suspect", "stranger", "reference"), orders, strict=True):
        _train(rows, order, folder / name)


def _train(rows: NDArray[np.int64], order: NDArray[np.int64], folder: Path) -> None:
    from stemma.models.lm import build, small_config
    from stemma.models.training import train

    config = small_config(vocab_size=VOCABULARY, hidden=48, layers=1, heads=2, positions=WIDTH)
    model = build(config, 0)
    train(model, rows, order, batch_size=4, learning_rate=1e-2)
    model.save_pretrained(folder)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
