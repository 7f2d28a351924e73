"""Code and text: split by module and document, without overlaps, as rows of tokens of one length.

Code is the Python standard library, split by top-level module or package; text the Brown corpus,
whose paragraphs are joined in their order and split in blocks.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from stemma.data import documents, stdlib
from stemma.errors import DataUnavailable
from stemma.models.tokenizer import END_OF_TEXT, encode_documents, train_bpe

Rows = NDArray[np.int64]

CODE, TEXT = "code", "text"
SEPARATOR, END_OF_MASK = "<sep>", "<eom>"
GRAM = 13
"""Words in a row that make two texts overlap."""

_NOT_CODE = {"pydoc_data"}  # the language reference as one string
_PARAGRAPHS = 40  # of Brown joined to a document, about 2,600 words


class Document(NamedTuple):
    """A document and the group (top-level package, block of text) that is split as a whole."""

    group: str
    text: str


class Split(NamedTuple):
    """Documents of one domain."""

    train: list[Document]
    held_out: list[Document]


class Specials(NamedTuple):
    """Ids of the special tokens: end of file, ``<sep>``, ``<eom>`` and ``<mask_1>``, ..."""

    end: int
    separator: int
    end_of_mask: int
    masks: tuple[int, ...]


class Hole(NamedTuple):
    """A line cut out of a file: token ids of what stands before it, of the line, of the rest."""

    before: list[int]
    middle: list[int]
    after: list[int]


@dataclass(frozen=True)
class Corpus:
    """What models are trained and evaluated on.

    Attributes:
        tokenizer: trained on the training documents of both domains.
        specials: its special tokens.
        widths: bytes of each token, shape (vocab,); none for special tokens.
        train: rows of each domain, (n, ctx); no row spans two files.
        held_out: rows of each domain from other packages and documents, (m, ctx), without any
            run of 13 words that the training documents have.
        modules: the package of each held-out row of code, shape (m,).
        holes: single lines of held-out code.
        dropped: share of the held-out rows of each domain that overlapped and were left out.
    """

    tokenizer: PreTrainedTokenizerBase
    specials: Specials
    widths: NDArray[np.int64]
    train: dict[str, Rows]
    held_out: dict[str, Rows]
    modules: NDArray[np.str_]
    holes: list[Hole]
    dropped: dict[str, float]


def code_documents() -> list[Document]:
    """Return the source files of the standard library, grouped by top-level package or module."""
    files = ((path.split("/")[0].removesuffix(".py"), raw) for path, raw in stdlib.files())
    return [Document(top, raw.decode()) for top, raw in files if top not in _NOT_CODE]


def text_documents(source: str) -> list[Document]:
    """Return joined consecutive paragraphs of a text source, each a group of its own."""
    parts = documents(source)
    starts = range(0, len(parts), _PARAGRAPHS)
    joined = ("\n\n".join(parts[start : start + _PARAGRAPHS]) for start in starts)
    return [Document(f"block {i}", text) for i, text in enumerate(joined)]


def split_groups(
    documents: Sequence[Document], share: float, kilobytes: int, rng: np.random.Generator
) -> Split:
    """Hold out whole groups until they have ``share`` of the characters.

    A group of more than half of that share is not held out, so that two are at least.

    Args:
        documents: of one domain.
        share: of the characters to be held out.
        kilobytes: thousands of characters to use; groups beyond that are left out.
        rng: decides which groups.
    """
    sizes: dict[str, int] = {}
    for document in documents:
        sizes[document.group] = sizes.get(document.group, 0) + len(document.text)
    total = min(sum(sizes.values()), 1000 * kilobytes)
    held: set[str] = set()
    kept: set[str] = set()
    for group in map(str, rng.permutation(sorted(sizes))):
        missing = share * total - sum(sizes[g] for g in held)
        if missing > 0 and sizes[group] <= share * total / 2:
            held.add(group)
        elif sum(sizes[g] for g in kept) < (1 - share) * total:
            kept.add(group)
    return Split(
        [d for d in documents if d.group in kept], [d for d in documents if d.group in held]
    )


def grams(text: str) -> set[int]:
    """Return hashes of all runs of 13 words (between blanks) of a text."""
    words = text.split()
    return {hash(tuple(words[i : i + GRAM])) for i in range(len(words) - GRAM + 1)}


def overlapping(texts: Sequence[str], others: Iterable[str]) -> NDArray[np.bool_]:
    """Tell which ``texts`` share a run of 13 words with any of the ``others``, shape (texts,)."""
    own = [grams(text) for text in texts]
    wanted = set().union(*own) if own else set()
    seen: set[int] = set()
    for other in others:
        seen |= wanted & grams(other)
    return np.array([bool(g & seen) for g in own], dtype=bool)


def make_tokenizer(
    texts: Iterable[str], vocab_size: int, n_masks: int
) -> tuple[PreTrainedTokenizerBase, Specials]:
    """Train a byte-level BPE tokenizer and add the special tokens of span corruption.

    Args:
        texts: training documents.
        vocab_size: ids in all.
        n_masks: mask tokens ``<mask_1>``, ....
    """
    names = [SEPARATOR, END_OF_MASK, *(f"<mask_{i + 1}>" for i in range(n_masks))]
    tokenizer = train_bpe(texts, vocab_size - len(names))
    tokenizer.add_special_tokens({"additional_special_tokens": names})
    vocabulary = tokenizer.get_vocab()
    end, separator, end_of_mask, *masks = (vocabulary[name] for name in (END_OF_TEXT, *names))
    return tokenizer, Specials(end, separator, end_of_mask, tuple(masks))


def token_widths(tokenizer: PreTrainedTokenizerBase) -> NDArray[np.int64]:
    """Return the bytes of each token, shape (vocab,); special tokens have none."""
    widths = np.zeros(len(tokenizer), np.int64)
    special = set(tokenizer.all_special_ids)
    for token, i in tokenizer.get_vocab().items():
        widths[i] = 0 if i in special else len(token)  # one character of the alphabet a byte
    return widths


def find_holes(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, ctx: int, rng: np.random.Generator
) -> list[Hole]:
    """Cut one line out of each text, with as much around it as fits into ``ctx`` tokens.

    A line has at least ten characters besides blanks, is no comment, and keeps its line break, as
    in HumanEval's single-line infilling. Lines longer than a quarter of ``ctx`` are passed over.
    A third of the room goes to what follows, the rest to what stands before.
    """
    holes = []
    for text in texts:
        lines = text.splitlines(keepends=True)
        fit = [
            i
            for i, line in enumerate(lines[:-1])
            if i and len(line.strip()) >= 10 and not line.lstrip().startswith("#")
        ]
        if not fit:
            continue
        i = int(rng.choice(fit))
        parts = ("".join(lines[:i]), lines[i], "".join(lines[i + 1 :]))
        before, middle, after = tokenizer(list(parts), add_special_tokens=False)["input_ids"]
        room = ctx - len(middle) - 5  # <mask_1>, end of file, <sep>, <mask_1>, <eom>
        if len(middle) <= ctx // 4:
            tail = after[: room // 3]
            holes.append(Hole(before[-(room - len(tail)) :], middle, tail))
    return holes


def _held_out(
    split: Split, tokenizer: PreTrainedTokenizerBase, ctx: int
) -> tuple[Rows, NDArray[np.str_], float]:
    """Return held-out rows without overlap, their groups, and the share that was dropped."""
    parts = [encode_documents(tokenizer, [d.text], ctx) for d in split.held_out]
    rows = np.concatenate(parts)
    groups = np.repeat([d.group for d in split.held_out], [len(part) for part in parts])
    texts = tokenizer.batch_decode(rows)
    clean = ~overlapping(texts, (d.text for d in split.train))
    return rows[clean], groups[clean], float(1 - clean.mean())


def build_corpus(
    splits: Mapping[str, Split], *, vocab_size: int, ctx: int, n_masks: int, n_holes: int, seed: int
) -> Corpus:
    """Train the tokenizer, cut documents into rows, leave overlaps out, and draw the holes.

    Args:
        splits: documents of ``code`` and ``text``.
        vocab_size: ids of the tokenizer.
        ctx: tokens a row.
        n_masks: spans that one row can have.
        n_holes: holes wanted; fewer if the held-out code is too short.
        seed: decides the holes.

    Raises:
        DataUnavailable: no held-out row is left, or no hole was found.
    """
    every = [document.text for split in splits.values() for document in split.train]
    tokenizer, specials = make_tokenizer(every, vocab_size, n_masks)
    train, held_out, dropped = {}, {}, {}
    modules = np.array([], dtype=np.str_)
    for domain, split in splits.items():
        train[domain] = encode_documents(tokenizer, [d.text for d in split.train], ctx)
        held_out[domain], groups, dropped[domain] = _held_out(split, tokenizer, ctx)
        if len(held_out[domain]) == 0:
            raise DataUnavailable(f"no held-out {domain} is left: raise `kilobytes` or `held_out`")
        modules = groups if domain == CODE else modules
    rng = np.random.default_rng([seed, 1])
    rows = held_out[CODE][rng.permutation(len(held_out[CODE]))[: 2 * n_holes]]
    holes = find_holes(tokenizer.batch_decode(rows), tokenizer, ctx, rng)[:n_holes]
    if not holes:
        raise DataUnavailable("no line of the held-out code makes a hole: raise `ctx`")
    return Corpus(
        tokenizer, specials, token_widths(tokenizer), train, held_out, modules, holes, dropped
    )
