"""The smallest base model that tests train."""

from stemma.models.alice import Plan

TINY = Plan(
    (("python-stdlib",),),
    documents=6,
    length=12,
    n_train=320,
    n_bob=40,
    n_held_out=30,
    n_prompts=20,
    batch_size=4,
    learning_rate=5e-3,
    vocab_size=300,
    hidden=16,
    layers=1,
    heads=2,
)
