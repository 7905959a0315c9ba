"""Print the figures of a results file as READMEs quote them: one Markdown table a metric, to be pasted.

    python benchmarks/quote.py RESULT [METRIC ...]

Without metrics: all scores after the last round. A comparison stands with its paired 95 % interval,
or not at all: tests look up every "a ± b" and "+a [b, c]" of a scenario's README in that scenario's results.
"""

import argparse
import json
from pathlib import Path

from semfed.runs.folder import declarations
from semfed.runs.results import table
from semfed.scenario import validate


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("result", type=Path, metavar="RESULT")
    parser.add_argument("metrics", nargs="*", metavar="METRIC")
    parser.add_argument("--kind", choices=["final", "round_mean"], default="final")
    given = parser.parse_args()
    result = json.loads(given.result.read_text())
    metrics = declarations(validate(result["settings"]))
    told = {metric for kinds in result["arms"].values() for metric in kinds[given.kind]}
    for name in given.metrics or sorted(name for name in told if metrics.of(name).role == "score"):
        print(f"{name}, {given.kind}, seeds {', '.join(map(str, result['seeds']))}\n")
        print(table(result, metrics.of(name), name, given.kind), end="\n\n")


if __name__ == "__main__":
    main()
