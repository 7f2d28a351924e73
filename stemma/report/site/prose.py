"""Markdown and notebooks as HTML; formulas as MathML, which browsers draw by themselves."""

import re
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import nbformat
from jinja2 import pass_context
from jinja2.runtime import Context
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import ValidationError
from pygments.formatters import HtmlFormatter

_LIGHT, _DARK = "default", "github-dark"
# What needs a script, or would differ from build to build; the plain text beside it is shown.
_SCRIPTED = ("application/javascript", "application/vnd.jupyter.widget-view+json")

_RELATIVE_LINK = (
    r'<a href="(?!https?:)(?P<name>[^"#]*?)(?:\.\w+)?(?P<at>#[^"]*)?">(?P<text>.*?)</a>'
)


class _Renderer(IPythonRenderer):
    def inline_math(self, body: str) -> str:
        return _mathml(body, "inline")

    def block_math(self, body: str) -> str:
        return _block(body)

    def latex_environment(self, name: str, body: str) -> str:
        return _block(rf"\begin{{{name}}}{body}\end{{{name}}}")


def _block(tex: str) -> str:
    return f'<div class="scroll">{_mathml(tex, "block")}</div>'


def _mathml(tex: str, display: str) -> str:
    try:
        return convert(tex, display=display)
    except Exception:  # the converter raises whatever a formula it does not know makes of it
        return f"<code>{escape(tex)}</code>"


def markdown(text: str, attachments: Mapping[str, Any] | None = None) -> str:
    """Return Markdown as HTML."""
    renderer = _Renderer(
        escape=False, exclude_anchor_links=True, attachments=dict(attachments or {})
    )
    html: str = MarkdownWithMath(renderer=renderer).render(text)
    # Wide tables scroll inside themselves.
    return html.replace("<table>", '<div class="scroll"><table>').replace(
        "</table>", "</table></div>"
    )


def document(text: str, documents: set[str]) -> str:
    """Return a document as HTML; links to Markdown files that are no pages here become text.

    Args:
        text: Markdown.
        documents: names of the files that are pages, without suffix.
    """

    def link(match: re.Match[str]) -> str:
        if match["name"] not in documents:
            return match["text"]
        return f'<a href="{match["name"]}.html{match["at"] or ""}">{match["text"]}</a>'

    return re.sub(_RELATIVE_LINK, link, markdown(text), flags=re.DOTALL)


def notebook(path: Path) -> str | None:
    """Return an executed notebook as an HTML fragment; None if the file is cut short."""
    try:
        node = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, ValidationError):
        return None
    for cell in node.cells:
        for output in cell.get("outputs", []):
            for kind in _SCRIPTED:
                output.get("data", {}).pop(kind, None)
    exporter = HTMLExporter(  # type: ignore[no-untyped-call]
        template_name="basic", exclude_anchor_links=True
    )
    exporter.register_filter("markdown2html", _cell_markdown)  # type: ignore[no-untyped-call]
    html, _ = exporter.from_notebook_node(node)
    return str(html)


@pass_context
def _cell_markdown(context: Context, source: str) -> str:
    return markdown(source, context.get("cell", {}).get("attachments"))


def code_css() -> str:
    """Return the colours of code, light and dark."""
    light = HtmlFormatter(style=_LIGHT).get_style_defs(".highlight")  # type: ignore[no-untyped-call]
    dark = HtmlFormatter(style=_DARK).get_style_defs(".highlight")  # type: ignore[no-untyped-call]
    return f"{light}\n@media screen and (prefers-color-scheme: dark) {{\n{dark}\n}}\n"
