"""Saved and live Keras models in: files are read into plain configs and arrays, and only then become layers.

Next: loading.py.
"""

from lstmfast.saving.loading import explain, from_keras, load_model, model_from_json

__all__ = ["explain", "from_keras", "load_model", "model_from_json"]
