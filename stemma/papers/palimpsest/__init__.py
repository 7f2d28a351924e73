"""Blackbox model provenance via palimpsestic membership inference (arXiv 2510.19796).

``experiment`` makes Alice and her Bobs with ``stemma.models``, ``observation`` scores Bob's text,
``nulls`` measures what must not happen, ``hub`` reads the paper's own pre-computed losses. The
tests themselves and the rival methods are in the package ``provenance``.
"""
