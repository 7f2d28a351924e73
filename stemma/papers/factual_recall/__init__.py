"""Memory against context in language models (Yu, Merullo, Pavlick, arXiv 2310.15910, EMNLP 2023).

A prompt states a false capital and asks for it: which answer wins, and which head decides?
Modules, in reading order: ``facts`` (capitals, counts, published shares), ``prompts``, ``heads``
(scaling and attributing heads of any model), ``scoring`` (which answer wins), ``study`` (what is
chosen on tuning countries and measured on the others), ``evidence`` (clustered slopes), ``plots``.
"""
