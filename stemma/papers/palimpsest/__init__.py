"""Blackbox model provenance via palimpsestic membership inference (arXiv 2510.19796).

``corpus`` cuts the text, ``pretraining`` makes Alice and her re-runs, ``derivatives`` makes Bob,
``observation`` scores Bob's text, ``nulls`` and ``rivals`` measure what must not happen, ``hub``
reads the paper's own pre-computed losses. The tests themselves are in the package ``provenance``.
"""
