"""Distributional Semantics Tracing (Bhatia, Sripada, Allan, Azcona, arXiv 2510.06107).

Which concepts a language model's states stand for, layer by layer, and whether that tells when the
model follows a word's usual company instead of its context. Modules, in reading order: ``items``
(48 nouns of two senses, fixed beforehand), ``subject`` (a model, its blocks and words),
``patching`` (edit what a block puts out), ``answers`` (margins, errors, calibration), ``concepts``
(cosines, CAS, its markers, DSS), ``tracing`` (nodes and edges of the semantic map),
``interventions`` (patched runs, cut attention), ``attributions`` and ``deletion`` (explanations of
an answer and their test), ``inference``, ``study`` (tables), ``figures``.
"""
