"""Data sources: found, checked, or refused with a reason, never replaced in silence."""

import functools
import hashlib
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from stemma import data
from stemma.data import files, images, registry
from stemma.errors import DataCorrupt, DataUnavailable

CONTENT = b"x,y\n1,2\n"
COMMIT = "0" * 40
REGISTRY = f"""
toy:
  description: A toy
  licence: CC0-1.0
  source: github:someone/things@{COMMIT}/data/a file.csv
  bytes: {len(CONTENT)}
  sha256: {hashlib.sha256(CONTENT).hexdigest()}
other:
  description: Another
  licence: CC0-1.0
  source: github:someone/things@{COMMIT}/other.csv
  bytes: 5
  sha256: {hashlib.sha256(b"other").hexdigest()}
wine:
  description: Wine
  licence: BSD-3-Clause
  package: scikit-learn
packed:
  description: Many small files
  licence: MIT
  source: hub:pictures/first
  bytes: 6
  sha256: {hashlib.sha256(b"images").hexdigest()}
absent:
  description: In a package that nobody has
  licence: none
  package: no-such-package-of-stemma
"""
TOY = Path("github", "someone", "things", COMMIT, "data", "a file.csv")


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty mirror and an empty cache, the toy registry, and a network that refuses."""
    toys = registry.parse(REGISTRY)
    monkeypatch.setattr(registry, "sources", lambda: toys)
    folder = tmp_path / "mirror"
    folder.mkdir()
    monkeypatch.setenv("STEMMA_DATA_MIRROR", str(folder))
    monkeypatch.setenv("STEMMA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(files, "RAW_FILES", "http://127.0.0.1:9")  # the discard port: refused
    return folder


@pytest.fixture
def server(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Path, list[str]]]:
    """Serve a folder as the network; yields it and the paths asked for."""
    root, asked = tmp_path / "served", list[str]()
    root.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            asked.append(self.path)

    handler = functools.partial(Handler, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        monkeypatch.setattr(files, "RAW_FILES", f"http://127.0.0.1:{listening.server_port}")
        yield root, asked
        listening.shutdown()


def put(root: Path, relative: Path, content: bytes) -> Path:
    path = root / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_mirror_is_used_first(mirror: Path) -> None:
    path = put(mirror, TOY, CONTENT)
    assert data.fetch("toy") == path
    assert data.choose(["toy"]) == "toy"


def test_corrupt_mirror_file_is_an_error_that_says_all(mirror: Path) -> None:
    path = put(mirror, TOY, b"changed!")
    with pytest.raises(DataCorrupt) as caught:
        data.choose(["toy", "wine"])
    message = str(caught.value)
    assert str(path) in message
    assert hashlib.sha256(b"changed!").hexdigest() in message
    assert hashlib.sha256(CONTENT).hexdigest() in message
    assert "delete" in message


def test_cache_is_used_without_network(mirror: Path, tmp_path: Path) -> None:
    path = put(tmp_path / "cache", TOY, CONTENT)
    assert data.fetch("toy") == path


def test_no_mirror_and_no_network(mirror: Path, tmp_path: Path) -> None:
    with pytest.raises(DataUnavailable) as caught:
        data.fetch("toy")
    message = str(caught.value)
    assert message.startswith("data unavailable: toy (A toy)")
    assert "STEMMA_DATA_MIRROR" in message
    assert "a%20file.csv" in message
    assert str(tmp_path / "cache" / TOY) in message


def test_download_lands_checked_in_the_cache(
    server: tuple[Path, list[str]], tmp_path: Path
) -> None:
    root, asked = server
    put(root, TOY.relative_to("github"), CONTENT)
    assert data.fetch("toy") == tmp_path / "cache" / TOY
    assert data.fetch("toy").read_bytes() == CONTENT
    assert asked == [f"/someone/things/{COMMIT}/data/a%20file.csv"]  # once, percent-encoded


def test_wrong_download_is_refused_and_not_kept(
    server: tuple[Path, list[str]], tmp_path: Path
) -> None:
    put(server[0], TOY.relative_to("github"), b"a login page")
    with pytest.raises(DataCorrupt, match="toy"):
        data.fetch("toy")
    assert not (tmp_path / "cache" / TOY).exists()


def test_missing_at_the_server_is_unavailable(server: tuple[Path, list[str]]) -> None:
    with pytest.raises(DataUnavailable, match="HTTPError"):
        data.fetch("toy")


def test_choose_goes_in_order(server: tuple[Path, list[str]]) -> None:
    put(server[0], Path("someone", "things", COMMIT, "other.csv"), b"other")
    assert data.choose(["toy", "other", "wine"]) == "other"
    assert data.choose(["toy", "wine", "other"]) == "wine"
    assert data.choose(["absent", "wine"]) == "wine"


def test_choose_lists_every_failure(mirror: Path) -> None:
    with pytest.raises(DataUnavailable) as caught:
        data.choose(["toy", "absent"])
    assert "none of toy, absent" in str(caught.value)
    assert "a%20file.csv" in str(caught.value)
    assert "pip install no-such-package-of-stemma" in str(caught.value)


def test_unknown_name_lists_the_known(mirror: Path) -> None:
    for function in (data.fetch, data.digest, data.is_embedded, data.documents):
        with pytest.raises(DataUnavailable, match="absent, other, packed, toy, wine"):
            function("nothing")


def test_a_packed_table_comes_from_a_mirror_alone(mirror: Path) -> None:
    with pytest.raises(DataUnavailable, match=r"holds hub/pictures/first\.parquet"):
        data.fetch("packed")
    put(mirror, Path("hub", "pictures", "first.parquet"), b"changed")
    with pytest.raises(DataCorrupt, match="copied again"):
        data.fetch("packed")
    path = put(mirror, Path("hub", "pictures", "first.parquet"), b"images")
    assert data.fetch("packed") == path


def test_embedded_source_has_no_file(mirror: Path) -> None:
    assert data.is_embedded("wine")
    assert not data.is_embedded("toy")
    with pytest.raises(DataUnavailable, match="scikit-learn"):
        data.fetch("wine")


def test_named_mirror_must_be_a_folder(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEMMA_DATA_MIRROR", str(mirror / "nowhere"))
    with pytest.raises(DataUnavailable, match="not a folder"):
        data.fetch("toy")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("licence: BSD-3-Clause", ""),
        ("package: scikit-learn", ""),
        ("package: scikit-learn", "package: scikit-learn\n  bytes: 5"),
        ("  bytes: 5\n", ""),
        (COMMIT, "main"),
    ],
)
def test_registry_refuses_half_entries(old: str, new: str) -> None:
    with pytest.raises(ValidationError):
        registry.parse(REGISTRY.replace(old, new))


def test_digests_are_stable_and_distinct() -> None:
    digests = {name: data.digest(name) for name in data.sources()}
    assert len(set(digests.values())) == len(digests)
    assert all(len(digest) == 64 for digest in digests.values())
    command = "from stemma import data; print(data.digest('python-stdlib'))"
    fresh = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True)
    assert fresh.stdout.strip() == digests["python-stdlib"]


def test_standard_library_is_enough_text_without_tests_and_tables() -> None:
    documents = data.documents("python-stdlib")
    assert sum(map(len, documents)) > 5_000_000
    assert data.documents("python-stdlib") == documents
    names = [name for name, _ in data.stdlib.files()]
    assert "argparse.py" in names
    assert not any("test" in Path(name).parts or "encodings" in name for name in names)


def test_registry_equals_the_mirrors_manifest() -> None:
    found = files.mirror()
    if found is None or not (found / "MANIFEST.tsv").is_file():
        pytest.skip("no mirror on this machine")
    rows = [line.split("\t") for line in (found / "MANIFEST.tsv").read_text().splitlines()]
    manifest = {row[0]: row for row in rows}
    for source in data.sources().values():
        if source.package is None:
            path, github, size, sha256, licence = manifest[str(source.path)][:5]
            assert source.is_packed or source.source == github
            assert (str(source.bytes), source.sha256) == (size, sha256)
            assert source.licence.startswith(licence)
            assert data.fetch(source.name) == found / path


def test_brown_is_plain_text() -> None:
    try:
        documents = data.documents("nltk-brown")
    except DataUnavailable as error:
        pytest.skip(str(error))
    assert len(documents) == 15_667  # the corpus's own count of paragraphs
    assert documents[0] == (
        "The Fulton County Grand Jury said Friday an investigation of Atlanta's recent primary"
        ' election produced "no evidence" that any irregularities took place.'
    )
    tagged = [text for text in documents if any("/" in word[1:-1] for word in text.split())]
    assert len(tagged) < 0.01 * len(documents)  # fractions and "and/or" remain, tags do not


def test_omniglot_is_complete() -> None:
    try:
        parts = [images.read_grey(f"omniglot-{part}", 14) for part in ("background", "evaluation")]
    except DataUnavailable as error:
        pytest.skip(str(error))
    assert [len(np.unique(part.labels)) for part in parts] == [964, 659]
    assert np.bincount(np.concatenate([part.labels for part in parts])).tolist() == [20] * 1623
    for part in parts:
        assert part.pixels.shape == (len(part.labels), 14, 14)
        assert 0.85 < part.pixels.mean() / 255 < 0.99  # dark strokes on white


def test_few_classes_are_read_alone() -> None:
    try:
        few = images.read_grey("omniglot-background", 105, classes=3)
    except DataUnavailable as error:
        pytest.skip(str(error))
    assert np.unique(few.labels, return_counts=True)[1].tolist() == [20, 20, 20]
    assert set(np.unique(few.pixels)) == {0, 255}


def test_import_is_light() -> None:
    command = (
        "import sys; from stemma import data; data.choose(['python-stdlib']);"
        "heavy = {'pandas', 'sklearn', 'pooch', 'requests', 'torch', 'PIL', 'pyarrow'};"
        "print(heavy & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True)
    assert done.stdout.strip() == "set()"
