"""Data sets of the Hugging Face hub, or local folders in the hub's formats."""

from collections.abc import Iterator
from typing import Any

from stemma.errors import DataUnavailable


def rows(path: str, name: str | None, split: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a data set in its order, read as they are needed.

    Args:
        path: an id of the hub, or a local folder of parquet, JSON or CSV files.
        name: a configuration of it.
        split: train, validation or test.

    Raises:
        DataUnavailable: the data set, or the package that reads it, cannot be had.
    """
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise DataUnavailable(
            f"data unavailable: reading {path} needs: pip install 'stemma-suite[hub]'"
        ) from error
    try:
        yield from load_dataset(path, name, split=split, streaming=True)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataUnavailable(
            f"data unavailable: {path}: {reason}; check the name and the network, or give a folder"
        ) from error
