"""Sampling from a transcript on disk against loading it: seconds and peak memory of each.

The rows are short, 1 to 4 token ids each, so that 10^8 of them fit on a disk (0.7 GB); a
draw of single rows reads whole row groups, which hold about a mebibyte of ids where rows are long.
Writing hashes every row and takes minutes; each side is measured in a process of its own.

Run: .venv/bin/python benchmarks/transcript_store.py [rows] [folder to write to, or to use again]
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from provenance.store import write_transcript
from provenance.transcript import PAD, Transcript

DRAWN, BATCH = 10_000, 1 << 18

MEASURE = """
import sys, time
from pathlib import Path
import numpy as np
import pyarrow.dataset
from provenance.store import StoredTranscript

def peak():
    # ru_maxrss would include what the parent process held when it forked.
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024

folder, before, begun = Path(sys.argv[1]), peak(), time.perf_counter()
{work}
print(time.perf_counter() - begun, before, peak())
"""
OURS = "assert len(StoredTranscript.open(folder).sample({drawn}, seed=0)) == {drawn}"
PROVED = "s = StoredTranscript.open(folder); s.prove(s.sample_rows(100, seed=0))"
LOADED = """
table = pyarrow.dataset.dataset(sorted(folder.glob("*.parquet"))).to_table()
rows = np.sort(np.random.default_rng(0).choice(len(table), {drawn}, replace=False))
assert len(table.take(rows)) == {drawn}
"""


def batches(rows: int) -> Iterator[Transcript]:
    """Yield synthetic examples in training order."""
    rng = np.random.default_rng(0)
    for start in range(0, rows, BATCH):
        n = min(BATCH, rows - start)
        tokens = rng.integers(0, 50_000, size=(n, 4))
        tokens[np.arange(4) >= rng.integers(1, 5, size=(n, 1))] = PAD
        yield Transcript.of(tokens, np.arange(start, start + n))


def measured(work: str, folder: Path) -> tuple[float, float, float]:
    """Return seconds, MiB after the imports and peak MiB of some work in a fresh process."""
    code = MEASURE.format(work=work.format(drawn=DRAWN))
    command = [sys.executable, "-c", code, str(folder)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds, before, peak = map(float, out.split())
    return seconds, before, peak


def main(rows: int, folder: Path) -> None:
    """Write the transcript if it is not there, then print both sides."""
    if not folder.exists():
        begun = time.perf_counter()
        with tqdm(total=rows, unit=" rows", unit_scale=True, mininterval=5) as bar:
            write_transcript(folder, batches(rows), progress=lambda n, _: bar.update(n - bar.n))
        print(f"written in {time.perf_counter() - begun:.0f} s")
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"{rows:,} rows of 1 to 4 token ids, {size / 1e9:.2f} GB; {DRAWN:,} drawn uniformly")
    print(f"{'':32}{'seconds':>9}{'peak MiB':>10}{'after imports':>15}")
    sides = {
        "open + sample": OURS,
        "open + sample, again": OURS,
        "open + prove 100 rows": PROVED,
        "pyarrow: load all + take": LOADED,
    }
    for name, work in sides.items():
        seconds, before, peak = measured(work, folder)
        print(f"{name:32}{seconds:9.2f}{peak:10.0f}{before:15.0f}")


if __name__ == "__main__":
    count = int(float(sys.argv[1])) if len(sys.argv) > 1 else 10**8
    if len(sys.argv) > 2:
        main(count, Path(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(count, Path(temporary) / "transcript")
