"""Entries of the cache of training runs: folders that are whole, checked, or not there."""

import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from stemma.files import write_json
from stemma.models.corpus import Corpus
from stemma.models.pretraining import Checkpoint, TrainingRun
from stemma.models.training import Recipe, TrainingState

T = TypeVar("T")

_MANIFEST = "manifest.json"


def read(entry: Path, load: Callable[[Path], T]) -> T | None:
    """Return ``load(entry)``, or None if there is no such entry.

    An entry whose files are not those that were written, or that cannot be loaded, is reported by
    a warning and removed.
    """
    if not entry.is_dir():
        return None
    try:
        _check(entry)
        return load(entry)
    except Exception as error:
        warnings.warn(f"the cache entry {entry} is broken and is made again: {error}", stacklevel=3)
        shutil.rmtree(entry)
        return None


@contextmanager
def writing(entry: Path) -> Iterator[Path]:
    """Give a temporary folder that becomes ``entry`` when the block ends without an error."""
    folder = Path(tempfile.mkdtemp(dir=entry.parent, prefix=f".{entry.name}."))
    try:
        yield folder
        write_json(folder / _MANIFEST, _digests(folder))
        os.replace(folder, entry)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def commit(path: Path, value: Mapping[str, object]) -> None:
    """Write JSON and wait until it is on the disk: what follows happens after it was written."""
    with path.open("x", encoding="utf-8") as stream:
        json.dump(value, stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())


def write_corpus(folder: Path, corpus: Corpus) -> None:
    """Store the examples and the tokenizer."""
    parts = {name: rows for name, rows in vars(corpus).items() if name != "tokenizer"}
    np.savez(folder / "corpus.npz", allow_pickle=False, **parts)
    corpus.tokenizer.save_pretrained(folder / "tokenizer")


def read_corpus(folder: Path) -> Corpus:
    """Return what ``write_corpus`` stored."""
    with np.load(folder / "corpus.npz", allow_pickle=False) as parts:
        return Corpus(**parts, tokenizer=AutoTokenizer.from_pretrained(folder / "tokenizer"))


def write_run(folder: Path, run: TrainingRun) -> None:
    """Store a run with its one checkpoint."""
    (checkpoint,) = run.checkpoints.values()
    np.savez(folder / "order.npz", order=run.order, consumed=run.consumed, done=checkpoint.done)
    run.model.save_pretrained(folder / "model")
    checkpoint.model.save_pretrained(folder / "checkpoint")
    state = checkpoint.state
    torch.save(None if state is None else vars(state), folder / "optimizer.pt")


def read_run(folder: Path, share: float, recipe: Recipe) -> TrainingRun:
    """Return the run that ``write_run`` stored, on the recipe's device."""
    stored: dict[str, Any] | None = torch.load(
        folder / "optimizer.pt", map_location=recipe.device, weights_only=True
    )
    state = None if stored is None else TrainingState(**stored)
    with np.load(folder / "order.npz", allow_pickle=False) as parts:
        order, consumed, done = parts["order"], parts["consumed"], int(parts["done"])
    checkpoint = Checkpoint(done, _model(folder / "checkpoint", recipe.device), state)
    model = _model(folder / "model", recipe.device)
    return TrainingRun(model, order, consumed, {share: checkpoint}, recipe)


def _model(folder: Path, device: str) -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.to(device)  # type: ignore[arg-type]
    return model


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _MANIFEST)
    digests = {}
    for path in files:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        digests[path.relative_to(folder).as_posix()] = digest
    return digests


def _check(entry: Path) -> None:
    stored = json.loads((entry / _MANIFEST).read_text(encoding="utf-8"))
    actual = _digests(entry)
    changed = sorted(name for name in stored | actual if stored.get(name) != actual.get(name))
    if changed:
        raise ValueError(f"{', '.join(changed)} changed or missing")
