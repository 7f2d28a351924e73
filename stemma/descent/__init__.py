"""Tests of descent as processes of their own: they outlive whoever asked for them.

Each test has a folder ``runs/provenance/<id>``: ``request.json``, ``worker.json`` (its process),
``curve.jsonl`` (the p-value so far), ``result.json``, ``evidence.json`` (signed), ``log.txt``, and
``cancel.json`` if somebody asked it to end. The state of a test follows from these files alone.
"""

from stemma.descent.life import cancel, start
from stemma.descent.records import DescentTest, Point, Request
from stemma.descent.transcripts import transcripts
from stemma.descent.views import Follower, find, latest

__all__ = [
    "DescentTest",
    "Follower",
    "Point",
    "Request",
    "cancel",
    "find",
    "latest",
    "start",
    "transcripts",
]
