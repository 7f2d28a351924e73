"""What the process that forks workers imports once, so that no worker has to.

Importing papermill and SciPy takes as long as starting a kernel; jupyter_client imports IPython for
the place of a folder, and nbformat compiles its schemas before the first notebook is read.
"""

import importlib

from stemma.imports import skip_iri_grammars

_MODULES = ("IPython", "scipy.stats", "stemma.batch.worker", "stemma.claims.engine")
_EMPTY: dict[str, object] = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}

skip_iri_grammars()
for _module in _MODULES:
    importlib.import_module(_module)
importlib.import_module("nbformat").validate(_EMPTY)
