"""CodeGen2: attention, objectives and data mixes of small models of code, at equal compute.

``data`` (splits, tokenizer, holes), ``objectives`` (span corruption, examples), ``attention`` (mask
and loss), ``evaluation``, ``baselines``, ``training`` (one model), ``study`` (all models),
``evidence``, ``descent`` (provenance), ``hub`` (published models), ``figures``.
"""
