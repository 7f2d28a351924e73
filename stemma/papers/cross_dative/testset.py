"""Real sentences: attested datives for the test, verbs for the precondition, minimal pairs."""

import re
from typing import NamedTuple

import numpy as np
import pandas as pd

from stemma import data
from stemma.errors import DataUnavailable
from stemma.papers.cross_dative import stimuli
from stemma.papers.cross_dative.stimuli import VERB

_LONGEST = 10  # tokens of a test sentence, as the source counts them
_FINITE = {"VB", "VBD", "VBP"}  # forms without -s or -ing, which the new word could be


class Pair(NamedTuple):
    """One content in both datives, with an attested verb.

    Attributes:
        verb: name of the verb.
        group: ``alternating``, ``prepositional only`` or ``double object only``.
        double_object: sentence.
        prepositional: sentence.
        human: preference for the double object, 0 to 100; nan if not measured.
    """

    verb: str
    group: str
    double_object: str
    prepositional: str
    human: float


def attested(source: str, n: int, seed: int) -> list[str]:
    """Return ``n`` attested datives with the verb replaced by ``[verb]``, in the file's order.

    Kept are short sentences of alternating verbs with an animate recipient and an inanimate theme
    (this drops most goal phrases that are no transfer), a verb in a form without ending that stands
    once and not first, and no content word of the exposures, the validation or the control.

    Args:
        source: name of the data source.
        n: how many.
        seed: decides which.

    Raises:
        DataUnavailable: fewer than ``n`` are left.
    """
    table = pd.read_csv(data.fetch(source))
    table = table[
        (table.verb_type == "alternating")
        & (table.recipient_anim == "a")
        & (table.theme_anim == "i")
        & (table.token_count <= _LONGEST)
        & table.verb_tag.isin(_FINITE)
    ]
    found = [masked(str(s), str(v)) for s, v in zip(table.sentence, table.verb, strict=True)]
    taken = set(stimuli.lexicon()["left_out"]).union(*stimuli.own_words().values())
    clean = list(dict.fromkeys(s for s in found if s and not stimuli.content_words([s]) & taken))
    if len(clean) < n:
        raise DataUnavailable(f"{source}: {len(clean)} sentences fit the test, {n} are needed")
    chosen = np.random.default_rng(seed).choice(len(clean), n, replace=False)
    return [clean[i] for i in sorted(chosen)]


def masked(sentence: str, verb: str) -> str:
    """Replace the verb by ``[verb]``; return "" for a sentence that is no clean test.

    Not clean: the verb twice or first, dashes, quotes and other marks of subtitles.
    """
    text = re.sub(r"\s+", " ", sentence).strip()
    if re.search(r"[^A-Za-z',.?! ]", text) or not text[:1].isalpha():
        return ""
    inside = rf"(?<= ){re.escape(verb)}(?= )"
    if len(re.findall(rf"\b{re.escape(verb)}\b", text, re.IGNORECASE)) != 1:
        return ""
    new, count = re.subn(inside, VERB, text)
    return new if count == 1 else ""


def gate_pairs(source: str, verbs: int, seed: int) -> list[Pair]:
    """Return pairs for the precondition C1: at most ``verbs`` verbs of each group.

    Alternating and prepositional-only verbs with a definite theme and a pronoun or a short definite
    recipient are those of Hawkins et al. (2020), whose other verbs take the preposition only. Verbs
    that take the double object only are the project's, in the same frames.
    """
    table = pd.read_csv(data.fetch(source))
    short = table.recipient_id.isin(["pronoun", "shortDefinite"]) & (table.theme_type == "def")
    rng = np.random.default_rng(seed)
    pairs = []
    for group, label in (
        ("alternating", "alternating"),
        ("non-alternating", "prepositional only"),
    ):
        rows = table[short & (table.classification == group)]
        known = np.sort(rows.verb_id.unique())
        kept = rng.choice(known, min(verbs, len(known)), replace=False)
        rows = rows[rows.verb_id.isin(kept)].sort_values(["verb_id", "i"])
        columns = ("verb_id", "DOsentence", "PDsentence", "BehavDOpreference")
        pairs += [
            Pair(str(verb), label, str(one), str(two), float(human))
            for verb, one, two, human in zip(*(rows[c] for c in columns), strict=True)
        ]
    return pairs + _double_object_only(verbs, rng)


def _double_object_only(verbs: int, rng: np.random.Generator) -> list[Pair]:
    known = stimuli.lexicon()
    pairs = []
    for verb, theme in list(known["double_object_only"].items())[:verbs]:
        subject = rng.choice(known["gate_subjects"])
        recipients = known["gate_recipients"]
        for to in (rng.choice(recipients[:2]), rng.choice(recipients[2:])):
            one, two = f"{subject} {verb} {to} {theme}", f"{subject} {verb} {theme} to {to}"
            pairs.append(Pair(verb, "double object only", one, two, np.nan))
    return pairs


def minimal_pairs(source: str, n: int, seed: int) -> list[tuple[str, str]]:
    """Return ``n`` pairs (bad, good) of one of Zorro's files."""
    lines = data.fetch(source).read_text(encoding="utf-8").splitlines()
    pairs = list(zip(lines[::2], lines[1::2], strict=False))
    chosen = np.random.default_rng(seed).choice(len(pairs), min(n, len(pairs)), replace=False)
    return [pairs[i] for i in sorted(chosen)]


def child_directed(source: str) -> list[str]:
    """Return what adults say in UD English-CHILDES: fifty utterances a document."""
    table = pd.read_parquet(data.fetch(source), columns=["file", "speaker_role", "text"])
    table = table[~table.speaker_role.str.contains("Child", na=False)]
    return [
        "\n".join(group.text.iloc[start : start + 50])
        for _, group in table.groupby("file", sort=True)
        for start in range(0, len(group), 50)
    ]
