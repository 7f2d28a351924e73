"""The paper's own pre-computed losses (hub data set ``hij/sequence_samples``): no model needed."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from provenance import Lineage, QueryResult, Reference, query_test
from provenance.transcript import Transcript
from stemma.errors import DataUnavailable

DATASET = "hij/sequence_samples"

Array = NDArray[np.float64]


def load_losses(source: str, subset: str) -> pd.DataFrame:
    """Read one subset: ``index`` and one ``loss_<model>`` column a model.

    Args:
        source: a folder or parquet file, or the name of a hub data set.
        subset: name of the folder within the source, such as ``pythia_deduped_100k``.

    Raises:
        DataUnavailable: nothing there, or no ``index`` column.
    """
    files = _files(source, subset)
    if not files:
        raise DataUnavailable(f"no parquet files for `{subset}` in {source}")
    table = pd.concat([_columns(file) for file in files], ignore_index=True)
    if "index" not in table:
        raise DataUnavailable(f"{source}/{subset} has no column `index`")
    return table


def _files(source: str, subset: str) -> list[Path]:
    path = Path(source)
    if path.is_file():
        return [path]
    if not path.is_dir():
        path = _download(source, subset)
    return sorted((path / subset).glob("**/*.parquet"))


def _download(source: str, subset: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(source, repo_type="dataset", allow_patterns=[f"{subset}/*.parquet"])
        )
    except (OSError, ValueError) as error:
        raise DataUnavailable(
            f"{source}: neither a folder here nor to be had from the hub ({type(error).__name__});"
            " download it and set `precomputed` to its folder"
        ) from error


def _columns(file: Path) -> pd.DataFrame:
    import pyarrow.parquet as pq

    names = pq.read_schema(file).names
    wanted = [n for n in names if n == "index" or n.startswith("loss_")]
    return pd.read_parquet(file, columns=wanted)


def row_losses(table: pd.DataFrame, model: str) -> Array:
    """Return the mean loss of each row under ``model``; a column may hold a list a row.

    Raises:
        DataUnavailable: the table has no losses of that model.
    """
    name = f"loss_{model}"
    if name not in table:
        known = ", ".join(c[5:] for c in map(str, table.columns) if c.startswith("loss_"))
        raise DataUnavailable(f"no losses of {model}; the table has {known or 'none'}")
    return np.array([np.mean(value) for value in table[name]], dtype=float)


def query_precomputed(
    table: pd.DataFrame, suspect: str, reference: str | None, *, permutations: int, seed: int = 0
) -> QueryResult:
    """Run the query test on pre-computed losses; a derivative gives rho > 0 (log-likelihoods).

    The sign is that of log-likelihoods: the paper's script correlates losses, so that its rho is
    minus this one.
    """
    positions = table["index"].to_numpy(dtype=np.int64)
    transcript = Transcript.of(np.arange(len(positions)), positions)
    against = None
    if reference is not None:
        against = Reference.from_scores(-row_losses(table, reference), Lineage(), reference)
    return query_test(
        transcript,
        -row_losses(table, suspect),
        against,
        permutations=permutations,
        resamples=0,
        seed=seed,
    )
