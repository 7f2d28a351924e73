"""The coverage principle (Chang et al., arXiv 2505.20278): what two-hop training data determine.

Modules, in reading order: ``tasks`` (tables, training and test triples), ``coverage`` (equivalent
fragments, the substitution graph, the data side of the theorem), ``baselines`` (frequencies,
fragment lookup), ``network`` (stacks of GPT-2), ``training``, ``analysis`` (cosine gaps, causal
tracing, logit lens), ``study`` (one outcome a model), ``evidence``, ``plots``.
"""
