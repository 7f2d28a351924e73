"""Options that several commands share, and what they mean."""

from collections.abc import Sequence

import click

BAD_INPUT = 2
INTERRUPTED = 130
UI_HOST, UI_PORT = "127.0.0.1", 5000
UI_ADDRESS = f"http://{UI_HOST}:{UI_PORT}"

scale_option = click.option(
    "--scale",
    type=click.Choice(["smoke", "small", "gpu", "paper"]),
    default="small",
    show_default=True,
    help="smoke proves the machinery; small tests the claims on 2 cores.",
)
parameter_option = click.option(
    "-p", "--parameter", "parameters", multiple=True, metavar="NAME=VALUE", help="Set a parameter."
)


def overrides(parameters: Sequence[str]) -> dict[str, str]:
    """Return the parameters of ``-p name=value`` options.

    Raises:
        ParameterError: an option without an equals sign.
    """
    from stemma.errors import ParameterError

    found = {}
    for text in parameters:
        name, equals, value = text.partition("=")
        if not equals:
            raise ParameterError(f"`-p {text}`: write it as -p name=value")
        found[name.strip()] = value
    return found
