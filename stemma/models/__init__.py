"""Small language models trained here, and models loaded from the hub, folders and packages.

Import the modules by name, since torch and transformers take seconds to load: ``tokenizer``, ``lm``
(architectures), ``training``, ``scoring``, ``sampling``, ``pretrained``, ``weights`` (digest,
average, rounding).
"""
