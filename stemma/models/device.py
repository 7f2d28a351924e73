"""Where models compute."""

import torch


def choose_device(wanted: str) -> str:
    """Return ``wanted``, or for ``auto`` the GPU if there is one, else the CPU."""
    if wanted != "auto":
        return wanted
    return "cuda" if torch.cuda.is_available() else "cpu"
