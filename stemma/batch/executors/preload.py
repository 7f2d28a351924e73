"""What the process that forks workers imports once, so that no worker has to.

Importing papermill and SciPy takes as long as starting a kernel; jupyter_client imports IPython for
the place of a folder, and nbformat compiles its schemas before the first notebook is read.
"""

import IPython
import nbformat
import scipy.stats

import stemma.batch.worker
import stemma.claims.engine

_EMPTY: dict[str, object] = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}
nbformat.validate(_EMPTY)

__all__ = ["IPython", "scipy", "stemma"]
