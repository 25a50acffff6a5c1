"""`load_model`, `save_model`, `from_keras`, `model_from_json` and `explain`.

Next: archive.py and legacy.py, which read the two kinds of file; build.py, which makes a model of
what they read, and live.py, of what is alive.
"""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any

from lstmfast.models import Model

if TYPE_CHECKING:
    from lstmfast.saving.explaining import Explanation


def load_model(
    filepath: str | PathLike[str],
    custom_objects: dict[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
    keras_version: str | tuple[int, int] | None = None,
) -> Model:
    """The model in a file that Keras saved.

    Parameters
    ----------
    filepath : str or path-like
        A ``.keras`` file of Keras 3 or tf.keras, or an HDF5 file; told apart by content.
    custom_objects : dict, optional
        Layers (subclasses of `Layer`), models (of `Model`) and activations (functions of arrays) by the names that the
        file calls them, with or without the package under which they are registered (``"my>Mix"``, ``"Mix"``); for a
        Lambda, by its layer's name, a function too. Initializers (functions of a shape and a dtype) for weights that
        are drawn anew.
    compile, safe_mode : bool
        Accepted as in Keras, without effect: there is no training here, and code in files is never run.
    keras_version : str or tuple of int, optional
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

    with open_model(filepath) as saved:
        return build_model(saved, custom_objects, keras_version)


def save_model(
    model: Model, filepath: str | PathLike[str], overwrite: bool = True, zipped: bool | None = None, **kwargs: Any
) -> None:
    """Write a model to a ``.keras`` file, as `Model.save` does.

    Parameters
    ----------
    model : Model
        One of lstmfast's.
    filepath, overwrite, zipped
        As of `Model.save`.
    **kwargs
        Keras's include_optimizer and save_format: without effect, as ``filepath`` has to end in ``.keras``.

    Raises
    ------
    ValueError
        If there are other arguments; and as `Model.save`.
    TypeError
        If it is no model.
    """
    others = sorted(set(kwargs) - {"include_optimizer", "save_format"})
    if others:
        raise ValueError(f"The following argument(s) are not supported: {others}")
    if not isinstance(model, Model):
        raise TypeError(f"Expected `model` to be a model of lstmfast. Received: {model} (of type {type(model)})")
    model.save(filepath, overwrite, zipped)


def from_keras(
    model: Any,
    custom_objects: dict[str, Any] | None = None,
    keras_version: str | tuple[int, int] | None = None,
) -> Model:
    """A live Keras model's copy, weights included.

    Parameters
    ----------
    model : keras.Model or tf_keras.Model
        Built; Sequential or functional, or of a class that ``custom_objects`` has by its name.
    custom_objects : dict, optional
        As of `load_model`.
    keras_version : str or tuple of int, optional
        Follow the rules of this version of Keras, and not those of the one that the model is of.

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
    from lstmfast.saving.live import build_live

    return build_live(model, custom_objects, keras_version)


def model_from_json(
    json_string: str,
    custom_objects: dict[str, Any] | None = None,
    keras_version: str | tuple[int, int] | None = None,
) -> Model:
    """A fresh model from the architecture that ``to_json`` of Keras, or of a model here, gave.

    Parameters
    ----------
    json_string : str
        JSON of any version of Keras.
    custom_objects, keras_version : optional
        As of `load_model`. The JSON of Keras 3 does not say which version wrote it, and is read as one of the newest
        known.

    Returns
    -------
    Model
        Its weights are drawn anew; `Model.load_weights` and `Model.set_weights` give it others.

    Raises
    ------
    ValueError, NotImplementedError
        As of `load_model`.
    """
    from lstmfast.saving.build import build_json

    return build_json(json_string, custom_objects, keras_version)


def explain(
    filepath: str | PathLike[str],
    custom_objects: dict[str, Any] | None = None,
    keras_version: str | tuple[int, int] | None = None,
) -> Explanation:
    """What a saved model holds: its layers, shapes, parameters and version, and every reason why it cannot run.

    Parameters
    ----------
    filepath : str or path-like
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

    return explain_file(filepath, custom_objects, keras_version)
