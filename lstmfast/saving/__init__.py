"""Saved and live Keras models in: files are read into plain configs and arrays, and only then become layers.

Next: loading.py.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lstmfast.saving.loading import explain, from_keras, load_model, model_from_json, save_model

__all__ = ["explain", "from_keras", "load_model", "model_from_json", "save_model"]

if not TYPE_CHECKING:  # see ../layers/__init__.py

    def __getattr__(name):
        if name in __all__:
            from lstmfast.saving import loading

            return getattr(loading, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
