"""Figures as parts of a web page: vector graphics that take the page's colours and say what they show."""

import io
import re

from markupsafe import Markup, escape
from matplotlib.figure import Figure

from semfed.report.style import METADATA


def described(figure: Figure) -> str:
    """Say what a figure shows: its own label, or what those of its axes and lines make."""
    if figure.get_label():
        return str(figure.get_label())
    axes = figure.axes[0]
    x, y = (" ".join(label.split()) for label in (axes.get_xlabel(), axes.get_ylabel()))  # which may have lines
    arms = list(dict.fromkeys(text for panel in figure.axes for text in panel.get_legend_handles_labels()[1]))
    shown = f"{y} against {x}" if x and y else x or y
    return f"{shown}: {', '.join(arms)}" if arms else shown


def inline(figure: Figure, name: str, description: str) -> Markup:
    """Return a figure as the text of an ``<svg>`` element.

    Parameters
    ----------
    figure : Figure
        Laid out; what is black takes the colour of the page's text.
    name : str
        Of the figure, unique on the page: identifiers begin with it.
    description : str
        What is read to those who do not see it.
    """
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata=METADATA["svg"])
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    prefix = re.sub(r"[^A-Za-z0-9]+", "-", name)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{prefix}-", text).replace("#000000", "currentColor")
    return Markup(text.replace("<svg", f'<svg role="img" aria-label="{escape(description)}"', 1))
