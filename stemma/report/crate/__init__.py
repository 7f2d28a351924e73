"""Exports a run or a batch as an RO-Crate 1.1 that others can read without Stemma.

A run is a Workflow Run Crate 0.5: its notebook is the main workflow, its execution a CreateAction.
A batch is a Provenance Run Crate 0.5: its plan is the main workflow, the notebooks are the tools
that the plan's steps use. The same records give the same bytes.
"""

from stemma.report.crate.output import Exported, export

__all__ = ["Exported", "export"]
