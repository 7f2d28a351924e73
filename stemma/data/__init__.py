"""Named data sources: where they are, that they are unchanged, and their text.

A source of the registry (``registry.yaml``) is either a file of a public repository at a fixed
commit, taken from a mirror folder, the user's cache or the network and checked by its sha256, or
data embedded in an installed package. Adding a source is adding an entry there.
"""

from stemma.data.files import choose, digest, fetch, is_embedded
from stemma.data.registry import Source, sources
from stemma.data.text import documents

__all__ = ["Source", "choose", "digest", "documents", "fetch", "is_embedded", "sources"]
