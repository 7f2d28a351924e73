"""What a process that we own need not import."""

import sys
from types import ModuleType
from typing import cast


def skip_iri_grammars() -> None:
    """Keep jsonschema from importing ``rfc3987_syntax``, which compiles grammars for two seconds.

    JupyterLab brings it; jsonschema does without where it is not installed, and no schema of
    notebooks has an IRI. It is a decision for a whole process: never call it in a user's.
    """
    sys.modules.setdefault("rfc3987_syntax", cast(ModuleType, None))
