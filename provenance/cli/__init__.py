"""The ``provenance`` commands: record, commit, query, partition, reshuffle, plan, verify, keygen.

Only click is imported here: numbers, models and keys are loaded by the command that needs them.
"""

from provenance.cli.main import main

__all__ = ["main"]
