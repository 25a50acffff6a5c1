"""`load_model`, `from_keras`, `model_from_json` and `explain`.

Next: archive.py and legacy.py, which read the two kinds of file; build.py, which makes layers of what they read.
"""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any

from lstmfast.models import Model

if TYPE_CHECKING:
    from lstmfast.saving.explaining import Explanation


def load_model(
    path: str | PathLike[str],
    custom_objects: dict[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
    keras_version: str | None = None,
) -> Model:
    """The model in a file that Keras saved.

    Parameters
    ----------
    path : str or path-like
        A ``.keras`` file of Keras 3 or tf.keras, or an HDF5 file; told apart by content.
    custom_objects : dict, optional
        Layers (subclasses of `Layer`), models (of `Model`) and activations (functions of arrays) by the names that the
        file calls them; for a Lambda, by its layer's name, a function too.
    compile, safe_mode : bool
        Accepted as in Keras, without effect: there is no training here, and code in files is never run.
    keras_version : str, optional
        Read the file as this version of Keras would have written it.

    Returns
    -------
    Model
        A `Sequential` or a functional `Model`, or one of a class of ``custom_objects``, which gives what the Keras that
        wrote the file gave.

    Raises
    ------
    OSError
        If the file cannot be read: it is missing, truncated, or no model at all.
    ValueError
        If it holds weights only, or contradicts itself.
    NotImplementedError
        If it holds code, or a layer that lstmfast does not have.
    """
    from lstmfast.saving.build import build_model
    from lstmfast.saving.files import open_model

    with open_model(path) as saved:
        return build_model(saved, custom_objects or {}, keras_version)


def from_keras(model: Any, custom_objects: dict[str, Any] | None = None) -> Model:
    """A live Keras model's copy, weights included.

    Parameters
    ----------
    model : keras.Model or tf_keras.Model
        Built; Sequential or functional, or of a class that ``custom_objects`` has by its name.
    custom_objects : dict, optional
        As of `load_model`.

    Returns
    -------
    Model

    Raises
    ------
    TypeError
        If it is no Keras model.
    ValueError, NotImplementedError
        As of `load_model`.
    """
    from lstmfast.saving.build import build_live

    return build_live(model, custom_objects or {})


def model_from_json(text: str, custom_objects: dict[str, Any] | None = None) -> Model:
    """A fresh model from the architecture that ``to_json`` of Keras, or of a model here, gave.

    Parameters
    ----------
    text : str
        JSON of any version of Keras.
    custom_objects : dict, optional
        As of `load_model`.

    Returns
    -------
    Model
        Its weights are drawn anew; `Model.load_weights` and `Model.set_weights` give it others.

    Raises
    ------
    ValueError, NotImplementedError
        As of `load_model`.
    """
    from lstmfast.saving.build import make_model
    from lstmfast.saving.config import Context, parse_version
    from lstmfast.saving.files import parse_json

    config = parse_json(text, "model_from_json", "the text")
    # Keras 3 writes no version, but a module
    version = str(config.get("keras_version") or ("3.15" if "module" in config else "1.0"))
    context = Context("model_from_json", parse_version(version), custom_objects or {})
    return make_model(config, context, 0)


def explain(
    path: str | PathLike[str], custom_objects: dict[str, Any] | None = None, keras_version: str | None = None
) -> Explanation:
    """What a saved model holds: its layers, shapes, parameters and version, and every reason why it cannot run.

    Parameters
    ----------
    path : str or path-like
        A file as `load_model` takes it.
    custom_objects, keras_version : optional
        As of `load_model`.

    Returns
    -------
    Explanation

    Raises
    ------
    OSError, ValueError
        If the file cannot be read at all.
    """
    from lstmfast.saving.explaining import explain_file

    return explain_file(path, custom_objects or {}, keras_version)
