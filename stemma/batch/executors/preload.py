"""What the process that forks workers imports once, so that no worker has to.

Importing papermill and SciPy takes as long as starting a kernel.
"""

import scipy.stats

import stemma.batch.worker
import stemma.claims.engine

__all__ = ["scipy", "stemma"]
