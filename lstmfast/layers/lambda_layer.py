"""Lambda: a function of arrays as a layer.

Next: own.py, by which it runs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from lstmfast.layers.base import Layer


class Lambda(Layer):
    """A function of arrays as a layer, as in Keras; the rules for `call` of a layer of one's own are the function's.

    Parameters
    ----------
    function : callable
        Takes the input, an array or a structure of them, and ``mask`` and ``training`` where it has arguments of these
        names.
    output_shape : optional
        Accepted, without effect: calls of the function on zeros say it.
    mask : callable or array, optional
        The output's mask, or what gives it for the input and its mask. Without it the output has none.
    arguments : dict, optional
        Further arguments of the function.
    **kwargs
        As of all layers.

    Examples
    --------
    >>> import numpy as np
    >>> from lstmfast import Input, Sequential, layers
    >>> model = Sequential([Input((5, 3)), layers.LSTM(4, return_sequences=True), layers.Lambda(lambda x: x[:, -1])])
    >>> model.predict(np.ones((2, 5, 3))).shape
    (2, 4)
    """

    def __init__(
        self,
        function: Callable[..., Any],
        output_shape: Any = None,
        mask: Any = None,
        arguments: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if not callable(function):
            raise TypeError(f"`function` of a Lambda must be callable. Received: {function!r}")
        super().__init__(**kwargs)
        taken = _parameters(function)
        self.function = function
        self.mask = mask
        self.arguments = arguments or {}
        self.passed = tuple(name for name in ("mask", "training") if name in taken)
        self.uses_mask = "mask" in taken
        self.supports_masking = self.makes_mask = mask is not None

    def call(self, inputs: Any, mask: Any = None, training: bool | None = None) -> Any:
        """The function's result."""
        own = {"mask": mask, "training": training}
        return self.function(inputs, **self.arguments, **{name: own[name] for name in self.passed})

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        return self.mask(inputs, previous_mask) if callable(self.mask) else self.mask

    def get_config(self) -> dict[str, Any]:
        """Raises NotImplementedError: no file holds a function."""
        raise NotImplementedError(
            f"Layer '{self.name}' is a Lambda, whose function no file can hold: write a class that derives from "
            "lstmfast.layers.Layer."
        )


def _parameters(function: Callable[..., Any]) -> Any:
    try:
        return inspect.signature(function).parameters
    except ValueError:  # as NumPy's have none
        return {}
