"""`lstmfast info`: what a file holds, and everything that would keep it from running.

Next: ../saving/explaining.py.
"""

from __future__ import annotations

import argparse
import json

from lstmfast.commands import DONE, FILE, NO, Failure
from lstmfast.saving import explain


def run(options: argparse.Namespace) -> int:
    """Print the table, or JSON."""
    try:
        found = explain(options.file)
    except ValueError as error:
        raise Failure(str(error), FILE) from error
    if options.json:
        counts = [count for _, _, _, count in found.layers]
        report = {
            "file": found.name,
            "keras_version": found.keras_version or None,
            "supported": found.supported,
            "parameters": None if None in counts else sum(count or 0 for count in counts),
            "layers": [
                {"name": name, "class": kind, "output_shape": shape, "parameters": count}
                for name, kind, shape, count in found.layers
            ],
            "problems": found.problems,
        }
        print(json.dumps(report, indent=2))
    else:
        print(found)
    return DONE if found.supported else NO
