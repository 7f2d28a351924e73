"""Tests of descent by palimpsestic membership inference; knows nothing of stemma."""
