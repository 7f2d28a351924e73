"""The JupyterLab extension of Stemma: where its parts are."""

from typing import Any

try:
    from stemma_lab._version import __version__
except ImportError:
    # A checkout whose extension was never built.
    __version__ = "dev"


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    return [{"src": "labextension", "dest": "stemma_lab"}]


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    from stemma_lab.app import StemmaLab

    return [{"module": "stemma_lab", "app": StemmaLab}]


__all__ = ["__version__"]
