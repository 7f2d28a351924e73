"""Cross-dative generalization: novel hypotheses from language models (arXiv 2408.05086)."""
