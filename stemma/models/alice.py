"""Alice: the suite's base model, trained once a scale in a recorded order committed to beforehand.

The seed decides the order alone: Alices of other seeds are *siblings*, with the same examples and
the same initial weights. They are the hardest innocent suspects there are, and good references.

A finished run is kept in the cache folder under a key of everything that can move it: the plan, the
seed, the data, the source of what trains, the versions of torch and transformers, the device class.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from filelock import FileLock
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from provenance import Lineage, Transcript
from provenance.evidence.commitments import commit, opens_root, public
from provenance.evidence.schema import Commitment
from provenance.store import StoredTranscript, write_transcript
from stemma import data
from stemma.data.files import cache_folder
from stemma.errors import DataUnavailable, RunError
from stemma.models import entries, lm, pretrained
from stemma.models.corpus import Corpus, Rows, build_corpus
from stemma.models.device import choose_device
from stemma.models.pretraining import TrainingRun, train_logged, transcript_of
from stemma.models.training import Recipe
from stemma.models.weights import weights_digest

Scale = Literal["smoke", "small", "gpu", "paper"]
Progress = Callable[[int, int], object]
"""Called with the steps done and the steps of the whole run."""

_TRANSCRIPT = "transcript"
_COMMITMENT = "commitment.json"  # opened, hence secret; published.json is what hides it
_SOURCES = (
    "provenance.transcript",
    *(f"stemma.models.{m}" for m in ("alice", "corpus", "lm", "pretraining", "tokenizer")),
    "stemma.models.training",
)


@dataclass(frozen=True)
class Plan:
    """How the Alice of one scale is made.

    Attributes:
        texts: for each part of the text, the data sources that can give it, the best first.
        documents: documents drawn.
        join: consecutive documents of a source put together, for examples longer than they are.
        length: tokens an example.
        n_train: examples of Alice.
        n_bob: examples of others, for fine-tunes.
        n_held_out: examples that no model trains on.
        n_prompts: examples whose beginnings are prompts.
        batch_size: examples a step.
        learning_rate: of AdamW, constant.
        base: ``fresh`` weights, or ``smollm2`` to continue SmolLM2-135M-Instruct.
        vocab_size: ids of the tokenizer (``fresh`` only, like the next three).
        hidden: width.
        layers: blocks.
        heads: attention heads a block.
        bf16: compute in bfloat16.
        last_share: a checkpoint is kept before this share of the run, for reshuffle tests.
    """

    texts: tuple[tuple[str, ...], ...]
    documents: int
    length: int
    n_train: int
    n_bob: int
    n_held_out: int
    n_prompts: int
    batch_size: int = 16
    learning_rate: float = 1e-3
    base: Literal["fresh", "smollm2"] = "fresh"
    join: int = 1
    vocab_size: int = 4_000
    hidden: int = 128
    layers: int = 2
    heads: int = 4
    bf16: bool = False
    last_share: float = 0.1


_BROWN = ("nltk-brown", "python-stdlib")

PLANS: dict[Scale, Plan] = {
    # At a rate of 1e-3 so short a run still learns the frequencies of tokens, and its earliest
    # examples come out likelier: the sign of memory turns only later.
    "smoke": Plan(
        texts=(_BROWN,),
        documents=1_200,
        length=16,
        n_train=608,
        n_bob=608,
        n_held_out=200,
        n_prompts=608,
        batch_size=4,
        learning_rate=5e-3,
        vocab_size=1_000,
        hidden=32,
        layers=1,
    ),
    "small": Plan(
        texts=(_BROWN,),
        documents=8_000,
        length=32,
        n_train=6_000,
        n_bob=6_000,
        n_held_out=2_000,
        n_prompts=6_000,
    ),
    "gpu": Plan(
        texts=(("nltk-brown",), ("python-stdlib",)),
        documents=10_000,
        length=128,
        n_train=20_480,
        n_bob=3_072,
        n_held_out=512,
        n_prompts=512,
        base="smollm2",
        join=40,
        learning_rate=5e-5,
        bf16=True,
    ),
}
"""The plan of each scale that trains; small has 0.91M parameters: half a minute on one core."""


@dataclass(frozen=True)
class Alice:
    """A finished run with all that later tests need.

    Attributes:
        plan: how it was made.
        seed: what decided the order.
        corpus: examples of Alice and Bob, held-out ones, prompts, and the tokenizer.
        run: the model, its order, and the checkpoint before the last share of the run.
        transcript: the examples with their positions.
        commitment: made and stored before the first step, with the nonce that opens it.
        digest: of the final weights.
        folder: the entry of the cache.
    """

    plan: Plan
    seed: int
    corpus: Corpus
    run: TrainingRun
    transcript: Transcript
    commitment: Commitment
    digest: str
    folder: Path

    @property
    def model(self) -> PreTrainedModel:
        """The final model; copy it (``weights.clone``) before training it further."""
        return self.run.model

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer, for showing text: every test runs on token ids."""
        return self.corpus.tokenizer

    @property
    def rows(self) -> Rows:
        """The examples of the run in the order of ``transcript.rows``, shape (n, length)."""
        return self.corpus.alice

    @property
    def stored(self) -> StoredTranscript:
        """The transcript on disk, for the command line and for proofs that read little."""
        return StoredTranscript.open(self.folder / _TRANSCRIPT)

    @property
    def lineage(self) -> Lineage:
        """What a descendant of this model has seen."""
        return Lineage.of(self.transcript)

    @property
    def facts(self) -> dict[str, Any]:
        """What ``Run.model`` records beside the name: digest of the weights, transcript, seed."""
        return {
            "digest": self.digest,
            "transcript": self.commitment.root,
            "commitment": str(self.commitment.value),
            "committed": self.commitment.time,
            "base": self.plan.base,
            "examples": self.plan.n_train,
            "order_seed": self.seed,
        }


def alice(scale: Scale, *, seed: int = 0, progress: Progress | None = None) -> Alice:
    """Return the Alice of a scale, from the cache or trained now.

    Args:
        scale: smoke, small (0.91M parameters from scratch on the Brown corpus) or gpu
            (SmolLM2-135M-Instruct continued on 20,480 examples of 128 tokens).
        seed: decides the order alone; other seeds are siblings.
        progress: called after every step if the model must be trained.

    Raises:
        DataUnavailable: the text or the base model cannot be had; or the scale is ``paper``, where
            nothing is trained: there the published Pythia runs are the Alices.
    """
    if scale == "paper":
        raise DataUnavailable(
            "no Alice is trained at scale paper: take EleutherAI/pythia-6.9b-deduped"
            " (stemma.models.pretrained.load) with its published transcript, subset"
            " pythia_deduped_100k of hij/sequence_samples"
        )
    return load_or_train(PLANS[scale], seed, progress)


def load_or_train(plan: Plan, seed: int, progress: Progress | None = None) -> Alice:
    """Return the run of a plan from the cache, or train it and keep it there.

    Two processes that want the same run train it once. An entry of the cache that is broken is
    reported by a warning and made again.

    Raises:
        DataUnavailable: the text or the base model cannot be had.
        RunError: training did not consume the committed order.
    """
    sources = [data.choose(any_of) for any_of in plan.texts]
    device = choose_device("auto")
    folder = cache_folder() / "alice"
    folder.mkdir(parents=True, exist_ok=True)
    entry = folder / _key(plan, seed, sources, device)
    with FileLock(f"{entry}.lock"):
        found = entries.read(entry, lambda path: _read(path, plan, seed, device))
        if found is not None:
            return found
        with entries.writing(entry) as path:
            made = replace(_train(path, plan, seed, sources, device, progress), folder=entry)
    return made


def _train(
    folder: Path,
    plan: Plan,
    seed: int,
    sources: list[str],
    device: str,
    progress: Progress | None,
) -> Alice:
    corpus = _corpus(plan, tuple(sources))
    order = np.random.default_rng([7, seed]).permutation(plan.n_train)
    transcript = transcript_of(corpus.alice, order)
    time = datetime.now(UTC).isoformat(timespec="seconds")
    commitment = commit(transcript.digest, len(transcript), time)
    entries.commit(folder / "published.json", public(commitment, hide_root=True))
    entries.commit(folder / _COMMITMENT, commitment.model_dump())
    model = _start(plan)
    model.to(device)  # type: ignore[arg-type]
    steps = -(-plan.n_train // plan.batch_size)
    hook = None if progress is None else (lambda _model, step: progress(step, steps))
    recipe = _recipe(plan, device)
    run = train_logged(model, corpus.alice, order, recipe, [plan.last_share], hook)
    if transcript_of(corpus.alice, run.consumed).digest != commitment.root:
        raise RunError("training did not consume the committed order: a fault of the loop")
    made = Alice(plan, seed, corpus, run, transcript, commitment, weights_digest(run.model), folder)
    write_transcript(folder / _TRANSCRIPT, transcript, corpus.tokenizer)
    entries.write_corpus(folder, corpus)
    entries.write_run(folder, run)
    return made


def _read(folder: Path, plan: Plan, seed: int, device: str) -> Alice:
    corpus = entries.read_corpus(folder)
    run = entries.read_run(folder, plan.last_share, _recipe(plan, device))
    commitment = Commitment.model_validate_json((folder / _COMMITMENT).read_text())
    transcript = transcript_of(corpus.alice, run.order)
    if transcript.digest != commitment.root or not opens_root(commitment):
        raise ValueError("the transcript is not the committed one")
    return Alice(plan, seed, corpus, run, transcript, commitment, weights_digest(run.model), folder)


def _recipe(plan: Plan, device: str) -> Recipe:
    return Recipe(plan.batch_size, plan.learning_rate, device, plan.bf16)


def _start(plan: Plan) -> PreTrainedModel:
    if plan.base == "smollm2":
        return pretrained.smollm2().model
    config = lm.small_config(
        vocab_size=plan.vocab_size,
        hidden=plan.hidden,
        layers=plan.layers,
        heads=plan.heads,
        positions=2 * plan.length,
    )
    return lm.build(config, seed=0)


@cache  # siblings share it
def _corpus(plan: Plan, sources: tuple[str, ...]) -> Corpus:
    texts = [text for name in sources for text in _joined(data.documents(name), plan.join)]
    return build_corpus(
        texts,
        documents=plan.documents,
        vocab_size=plan.vocab_size,
        length=plan.length,
        n_train=plan.n_train,
        n_bob=plan.n_bob,
        n_held_out=plan.n_held_out,
        n_prompts=plan.n_prompts,
        seed=0,
        tokenizer=pretrained.smollm2().tokenizer if plan.base == "smollm2" else None,
    )


def _joined(documents: list[str], number: int) -> list[str]:
    starts = range(0, len(documents), number)
    return ["\n\n".join(documents[start : start + number]) for start in starts]


def _key(plan: Plan, seed: int, sources: list[str], device: str) -> str:
    parts = {
        "plan": asdict(plan),
        "seed": seed,
        "data": {name: data.digest(name) for name in sources},
        "source": {name: hashlib.sha256(_source(name)).hexdigest() for name in _SOURCES},
        "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers")},
        "device": device if device == "cpu" else f"{device} {torch.cuda.get_device_name()}",
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _source(module: str) -> bytes:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise RunError(f"the source of {module} cannot be found: reinstall stemma-suite")
    return Path(spec.origin).read_bytes()
