"""The layers, by Keras's names.

Next: _every.py, which has the list; lstm.py, recurrent.py.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lstmfast.layers._every import *  # noqa: F403
    from lstmfast.layers._every import __all__ as __all__
else:
    # When the first name is asked for. A package that imports its own modules here and a thread that imports one of
    # them wait for each other, and Python ends that with an error: lstmfast's modules import in one direction alone.
    def __getattr__(name):
        from importlib import import_module

        if not name.startswith("_") or name == "__all__":
            every = import_module("lstmfast.layers._every")
            if name in every.__all__ or name == "__all__":
                value = globals()[name] = getattr(every, name)
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__():
        return sorted({*globals(), *__getattr__("__all__")} - {"TYPE_CHECKING"})
