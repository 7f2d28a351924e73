"""Text sources as lists of plain documents."""

import re
import zipfile
from collections.abc import Iterator

from stemma.data import files, stdlib
from stemma.data.registry import find
from stemma.errors import DataUnavailable

BROWN = "nltk-brown"


def documents(name: str) -> list[str]:
    """Return the documents of a text source, always in the same order.

    Brown: one document a paragraph (about 65 words), tags removed, no spaces before punctuation.
    The standard library: one document a source file.

    Raises:
        DataUnavailable: the source is unknown, is no text, or cannot be had.
        DataCorrupt: its file is not the registered one.
    """
    find(name)
    if name == stdlib.NAME:
        return stdlib.documents()
    if name == BROWN:
        return list(_brown())
    raise DataUnavailable(f"{name} is not text; text sources: {BROWN}, {stdlib.NAME}")


def _brown() -> Iterator[str]:
    with zipfile.ZipFile(files.fetch(BROWN)) as archive:
        for member in sorted(archive.namelist()):
            if re.fullmatch(r"brown/c[a-r]\d\d", member):
                yield from _paragraphs(archive.read(member).decode("ascii"))


def _paragraphs(text: str) -> Iterator[str]:
    for block in re.split(r"\n\s*\n", text):
        words = [word.rsplit("/", 1)[0] for word in block.split()]
        if words:
            yield _untokenize(" ".join(words))


def _untokenize(line: str) -> str:
    line = re.sub(r"([?!;:]) \1(?!\S)", r"\1", line)  # the tagged Brown doubles these marks
    line = re.sub(r"`` ?", '"', line)
    line = re.sub(r" ?''", '"', line)
    line = re.sub(r" ([,.;:?!)\]])(?!\S)", r"\1", line)
    return re.sub(r"(?<!\S)([(\[]) ", r"\1", line)
