"""From facts to prompts and tokens."""

from collections.abc import Sequence
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from stemma.papers.factual_recall.facts import Item
from stemma.papers.factual_recall.scoring import Question

Form = Literal["qa", "plain", "chat"]


def ask(form: Form, country: str, city: str | None, tokenizer: Any = None) -> str:
    """Return the prompt that asks for a country's capital, after a statement of ``city`` if given.

    ``qa`` is the paper's form; ``plain`` leaves the sentence to be completed; ``chat`` is one turn
    of the tokenizer's chat template.
    """
    context = f"The capital of {country} is {city}.\n" if city is not None else ""
    question = f"What is the capital of {country}?"
    if form == "qa":
        return f"{context}Q: {question}\nA:"
    if form == "plain":
        return f"{context}The capital of {country} is"
    turn = [{"role": "user", "content": context + question}]
    chat: str = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    return chat


def to_question(
    tokenizer: PreTrainedTokenizerBase, prompt: str, answers: Sequence[str], form: Form = "qa"
) -> Question:
    """Return a prompt and its answers as tokens; answers follow a space, but for a chat's."""
    space = "" if form == "chat" else " "
    tokens = [
        tuple(tokenizer(space + answer, add_special_tokens=False)["input_ids"])
        for answer in answers
    ]
    return Question(tuple(tokenizer(prompt)["input_ids"]), tuple(tokens))


def of_text(tokenizer: PreTrainedTokenizerBase, text: str) -> Question:
    """Return a text as a question without a prompt: its only answer is all but its first token."""
    first, *rest = tokenizer(text)["input_ids"]
    return Question((first,), (tuple(rest),))


def of_item(
    tokenizer: PreTrainedTokenizerBase,
    item: Item,
    context: Literal["none", "copied", "paraphrased"],
) -> Question:
    """Return a CounterFact item as a question whose answers are the false end and the true one."""
    prompt = {"none": item.sentence, "copied": item.copied, "paraphrased": item.paraphrased}
    return to_question(tokenizer, prompt[context], (item.false, item.true))


def differ_at_once(question: Question) -> bool:
    """Tell whether no two answers begin with the same token, so that the first one decides."""
    first = [answer[0] for answer in question.answers]
    return len(set(first)) == len(first)
