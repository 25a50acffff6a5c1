"""Saved and live Keras models in: files are read into plain configs and arrays, and only then become layers.

Next: loading.py.
"""

from lstmfast.saving.loading import from_keras, load_model

__all__ = ["from_keras", "load_model"]
