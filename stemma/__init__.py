"""Stemma: forty machine-learning papers reproduced, and models traced to their training runs."""

__version__ = "0.1.0"
