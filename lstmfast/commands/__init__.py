"""The commands of the `lstmfast` program, one module each, imported when the command runs.

Next: ../cli.py, which calls `run(options)` of one of them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lstmfast.models import Functional

# Exit statuses; `lstmfast --help` says what they mean.
DONE, NO, USAGE, FILE, BUG, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 3, 70, 130, 141


class Failure(Exception):
    """Ends a command with one line for the user and an exit status."""

    def __init__(self, message: str, status: int = USAGE) -> None:
        super().__init__(message)
        self.status = status


def load(path: str | os.PathLike[str]) -> Functional:
    """The model in a file.

    Raises
    ------
    Failure
        If the file holds no model that can be loaded, or one that takes text.
    """
    from lstmfast.saving import load_model

    try:
        model: Any = load_model(path)  # no class of a user's can be in it
    except NotImplementedError as error:
        raise Failure(f"{error} ('lstmfast info' lists everything that is not supported)", NO) from error
    except ValueError as error:
        raise Failure(str(error), FILE) from error
    if model.built and any(tensor.dtype == "string" for tensor in model.inputs):
        raise Failure(f"'{os.fspath(path)}' takes text, and no input of this program does: call it from Python.", NO)
    return model  # type: ignore[no-any-return]
