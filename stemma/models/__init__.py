"""Small language models trained here, and models loaded from the hub, folders and packages.

Import the modules by name, since torch and transformers take seconds to load: ``tokenizer``,
``corpus`` (examples, split), ``lm`` (architectures), ``training``, ``pretraining`` (logged runs and
re-runs of their end), ``parallel`` (jobs in threads), ``scoring``, ``sampling``, ``pretrained``,
``weights`` (digest, average, rounding), ``derivatives`` and ``dpo`` (fine-tunes, LoRA, students,
preference tuning), ``alice`` (the suite's base model with a committed transcript).
"""
