"""Pictures that a mirror packs into one table: compressed bytes with a label each."""

import io
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stemma.data.files import fetch


class Grey(NamedTuple):
    """Grey pictures: ``pixels`` uint8 of shape (n, side, side), ``labels`` of shape (n,)."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]


def read_grey(name: str, side: int, classes: int | None = None) -> Grey:
    """Return the pictures of a packed source in grey, averaged down to ``side`` x ``side`` pixels.

    Args:
        name: a source of the registry whose table has the columns ``image`` and ``label``.
        side: height and width of the result; a picture of that size is left as it is.
        classes: read so many classes only, the first by their labels.

    Raises:
        DataUnavailable: unknown or embedded source, or it can be had nowhere.
        DataCorrupt: the file is not the registered one.
    """
    from PIL import Image
    from pyarrow import parquet

    table = parquet.read_table(fetch(name), columns=["image", "label"])
    labels = table["label"].to_numpy()
    if classes is not None:
        kept = np.flatnonzero(np.isin(labels, np.unique(labels)[:classes]))
        table, labels = table.take(kept), labels[kept]
    pixels = np.empty((table.num_rows, side, side), dtype=np.uint8)
    for row, picture in enumerate(table["image"].combine_chunks().field("bytes")):
        with Image.open(io.BytesIO(picture.as_buffer())) as image:
            grey = image.convert("L")
            fits = grey.size == (side, side)
            pixels[row] = grey if fits else grey.resize((side, side), Image.Resampling.BOX)
    return Grey(pixels, labels)
