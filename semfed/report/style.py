"""How figures look: sizes of an IEEE page, fonts that a publisher takes, and marks that tell many arms apart."""

from typing import Any

COLUMN, PAGE = 3.5, 7.16
"""Widths of a column and of both columns of an IEEE page, in inches; figures have one of them exactly."""
STYLE: dict[str, Any] = {
    "figure.figsize": (COLUMN, 2.4),
    "figure.dpi": 300,
    "figure.constrained_layout.use": True,  # everything stands inside of the size, which no bounding box then changes
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
    "savefig.bbox": "standard",
    "pdf.fonttype": 42,  # TrueType; publishers refuse type 3
    "ps.fonttype": 42,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "semfed",  # equal figures are equal files
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.title_fontsize": 6.5,
    "axes.grid": True,
    "axes.formatter.useoffset": False,
    "axes.linewidth": 0.6,
    "axes.xmargin": 0.06,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": True,
    "legend.framealpha": 0.8,
    "legend.edgecolor": "none",
    "legend.handlelength": 2.4,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "text.parse_math": False,  # names are shown as they are
}
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, which people with any colour vision tell apart; without their yellow, too pale for a line."""
LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "v", "D", "P", "X", "*", "<", ">")
METADATA: dict[str, dict[str, Any]] = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}
"""By the format of a file: without the time, so that equal figures are equal files."""


def look(index: int) -> dict[str, Any]:
    """Return colour, line style and marker of the arm with this number.

    Lines change as soon as colours repeat. 28 arms differ by colour and line, and by line and marker, without colour.
    """
    return {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": LINES[index // len(COLOURS) % len(LINES)],
        "marker": MARKERS[index % len(MARKERS)],
    }
