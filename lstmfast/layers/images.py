"""Layers of images, which models of video have in front of a recurrent layer: sizes, and random changes in training.

Next: reshaping.py, regularization.py.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, Signature
from typing import Any

import numpy as np

from lstmfast._graph import KerasTensor
from lstmfast._pieces import cast, copied, in_pieces, padded, taken
from lstmfast.layers.arguments import keys_of, positive
from lstmfast.layers.base import Array, Layer, Run, register
from lstmfast.layers.regularization import Inert
from lstmfast.layers.reshaping import INTERPOLATIONS, interpolated, rounded


class _OfImages(Layer):
    """Base of the layers that give images of one size, (batch, height, width, channels) or one such image."""

    keeps_integers = "biu"
    supports_masking = False
    min_ndim = 3
    inert_arguments = ("bounding_box_format",)

    def __init__(self, height: int, width: int, data_format: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.height, self.width = positive("height", height), positive("width", width)
        self.data_format = data_format or "channels_last"

    def first_axis(self, ndim: int) -> int:
        """That of the height; behind it is that of the width."""
        return ndim - 3 + (self.data_format == "channels_first")

    def check_shape(self, shape: Any) -> None:
        super().check_shape(shape)
        if len(shape) > 4:
            raise ValueError(
                f"Layer '{self.name}' takes one image or a batch of them: wrap it into a TimeDistributed. Full shape "
                f"received: {tuple(shape)}"
            )

    def compute_output_shape(self, input_shape: Any) -> Any:
        axis = self.first_axis(len(input_shape))
        return (*input_shape[:axis], self.height, self.width, *input_shape[axis + 2 :])

    def cropped(self, x: Array, height: int, width: int) -> Array:
        """The middle of ``x``, so high and so wide."""
        axis = self.first_axis(x.ndim)
        middle = [slice(None)] * x.ndim
        for place, own in ((axis, height), (axis + 1, width)):
            start = (x.shape[place] - own) // 2
            middle[place] = slice(start, start + own)
        return x[tuple(middle)]

    def wanted(self, x: Array) -> tuple[int, int]:
        """The height for the width of ``x``, and the width for its height, that the target's proportions ask for.

        Keras divides in float32.
        """
        axis = self.first_axis(x.ndim)
        height, width = x.shape[axis : axis + 2]
        return (
            int(np.float32(width * self.height) / np.float32(self.width)),
            int(np.float32(height * self.width) / np.float32(self.height)),
        )

    def cropped_to_aspect(self, x: Array) -> Array:
        """The largest middle of ``x`` that has the target's proportions."""
        axis = self.first_axis(x.ndim)
        sizes = [max(min(own, size), 1) for own, size in zip(self.wanted(x), x.shape[axis : axis + 2], strict=True)]
        return self.cropped(x, *sizes)

    def stretched(self, x: Array, interpolation: str) -> Array:
        """``x`` in the size of the target; what lies between integers is rounded to those."""
        function = interpolated if interpolation == "bilinear" else _nearest
        dtype, axis = x.dtype, self.first_axis(x.ndim)
        y = x if interpolation == "nearest" or dtype.kind == "f" else cast(x, np.float32)
        for own, count in ((axis + 1, self.width), (axis, self.height)):  # in TensorFlow's order
            y = function(y, count, own) if y.shape[own] != count else y
        return y if y.dtype == dtype else in_pieces(lambda part: rounded(part, dtype), y)


def _nearest(x: Array, count: int, axis: int) -> Array:
    size = x.shape[axis]
    places = (np.arange(count, dtype=np.float32) + np.float32(0.5)) * (np.float32(size) / np.float32(count))
    return taken(x, np.minimum(places.astype(np.intp), size - 1), axis)


@register()
class CenterCrop(_OfImages):
    """Keras's CenterCrop layer: the middle of each image, in a given size.

    Parameters
    ----------
    height, width : int
        Of the output. A smaller image is cropped to the proportions of these, and its pixels are interpolated.
    data_format : str, optional
        With ``"channels_first"`` the channels are before height and width.
    """

    keeps_integers = ""

    def __init__(self, height: int, width: int, data_format: Any = None, **kwargs: Any) -> None:
        super().__init__(height, width, data_format, **kwargs)

    config_keys = keys_of(__init__)

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        height, width = self.height, self.width

        def run(x: Array) -> Array:
            axis = self.first_axis(x.ndim)
            if x.shape[axis] >= height and x.shape[axis + 1] >= width:
                return copied(self.cropped(x, height, width))
            return copied(self.stretched(self.cropped_to_aspect(x), "bilinear"))

        return run


@register()
class Resizing(_OfImages):
    """Keras's Resizing layer: images in a given size.

    Parameters
    ----------
    height, width : int
        Of the output.
    interpolation : {"bilinear", "nearest"}
        Whether a value lies on a line between two neighbours along each axis, or is that of the nearest one.
    crop_to_aspect_ratio, pad_to_aspect_ratio : bool
        Whether images are cropped, or padded, to the proportions of the output first.
    fill_mode, fill_value : str, float
        What they are padded with: "constant", and the constant.
    antialias : bool
        Without effect on ``"nearest"``; refused otherwise.
    data_format : str, optional
        With ``"channels_first"`` the channels are before height and width.

    Notes
    -----
    Images of integers stay such where the layer is called by itself, as in Keras 3; in a model, and in a layer of
    Keras 2, they become floats. A layer of float64
    interpolates in float64, where TensorFlow does so in float32.
    """

    def __init__(
        self,
        height: int,
        width: int,
        interpolation: str = "bilinear",
        crop_to_aspect_ratio: bool = False,
        pad_to_aspect_ratio: bool = False,
        fill_mode: str = "constant",
        fill_value: float = 0.0,
        antialias: bool = False,
        data_format: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(height, width, data_format, **kwargs)
        self.interpolation, self.antialias = str(interpolation).lower(), bool(antialias)
        self.crop_to_aspect_ratio, self.pad_to_aspect_ratio = bool(crop_to_aspect_ratio), bool(pad_to_aspect_ratio)
        self.fill_mode, self.fill_value = fill_mode, fill_value
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(
                f"Invalid value for argument `interpolation`. Expected of one {INTERPOLATIONS}. Received: "
                f"interpolation={interpolation}"
            )
        if fill_mode != "constant":
            raise ValueError(
                "Invalid value for argument `fill_mode`. Only `'constant'` is supported. Received: "
                f"fill_mode={fill_mode}"
            )
        if crop_to_aspect_ratio and pad_to_aspect_ratio:
            raise ValueError("Only one of `pad_to_aspect_ratio` & `crop_to_aspect_ratio` can be `True`.")
        if self.interpolation not in ("nearest", "bilinear"):
            raise NotImplementedError(f"Resizing with interpolation='{self.interpolation}' is not supported.")
        if antialias and self.interpolation != "nearest":
            raise NotImplementedError("Resizing with antialias=True is not supported.")

    config_keys = keys_of(__init__)

    @property
    def keeps_integers(self) -> str:  # type: ignore[override]
        return "" if self.of_keras_2 else "biu"

    def kept_integers(self, inputs: Any) -> np.dtype[Any] | None:
        """As `Layer.kept_integers`; None in a model, where Keras's `predict` makes floats of them first."""
        return None if isinstance(inputs, KerasTensor) else super().kept_integers(inputs)

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        before: Callable[[Array], Array] | None = None
        if self.crop_to_aspect_ratio:
            before = self.cropped_to_aspect
        elif self.pad_to_aspect_ratio:
            before = self._padded_to_aspect
        interpolation = self.interpolation

        def run(x: Array) -> Array:
            return copied(self.stretched(x if before is None else before(x), interpolation))

        return run

    def _padded_to_aspect(self, x: Array) -> Array:
        axis = self.first_axis(x.ndim)
        widths = [(0, 0)] * x.ndim
        for place, own in enumerate(self.wanted(x), axis):
            more = max(own - x.shape[place], 0) // 2  # on both sides: an odd place is left out, as in Keras
            widths[place] = (more, more)
        return padded(x, widths, self.fill_value)


class _Augmentation(Inert):
    """Base of the layers that change images in training, at random, which is not supported.

    Keras's own call is one in training by default; that inside `predict` is not.
    """

    supports_masking = False
    min_ndim = 3
    inert_arguments = ("bounding_box_format", "rng_type")

    def __init__(self, data_format: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = data_format or "channels_last"

    def refuse_training(self) -> None:
        raise NotImplementedError(
            f"Layer '{self.name}' of class {type(self).__name__} is called with training=True: it does what it does at "
            "inference alone, which is nothing."
        )


def _augmentation(name: str, *required: str, **defaults: Any) -> type[Layer]:
    """Keras's layer of this name, by the arguments of its constructor in their order."""
    kind = Parameter.POSITIONAL_OR_KEYWORD
    signature = Signature(
        [
            *(Parameter(argument, kind) for argument in ("self", *required)),
            *(Parameter(argument, kind, default=default) for argument, default in defaults.items()),
            Parameter("kwargs", Parameter.VAR_KEYWORD),
        ]
    )

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        given = {key: value for key, value in bound.arguments.items() if key not in ("self", "kwargs")}
        base = {"data_format": given.pop("data_format")} if "data_format" in given else {}
        _Augmentation.__init__(self, **base, **bound.arguments["kwargs"])
        self.__dict__.update(given)

    __init__.__signature__ = signature  # type: ignore[attr-defined]
    keys = tuple(dict.fromkeys((*keys_of(__init__), "data_format")))
    doc = f"""Keras's {name} layer; at inference it hands its input on."""
    members = {"__init__": __init__, "__doc__": doc, "__module__": __name__, "config_keys": keys}
    return register()(type(name, (_Augmentation,), members))


_END: Any = {"seed": None, "data_format": None}
_FILL: Any = {"fill_mode": "reflect", "interpolation": "bilinear", "seed": None, "fill_value": 0.0, "data_format": None}

AugMix = _augmentation(
    "AugMix",
    value_range=(0, 255),
    num_chains=3,
    chain_depth=3,
    factor=0.3,
    alpha=1.0,
    all_ops=True,
    interpolation="bilinear",
    **_END,
)
CutMix = _augmentation("CutMix", factor=1.0, **_END)
MixUp = _augmentation("MixUp", alpha=0.2, data_format=None, seed=None)
RandAugment = _augmentation(
    "RandAugment", value_range=(0, 255), num_ops=2, factor=0.5, interpolation="bilinear", **_END
)
RandomBrightness = _augmentation("RandomBrightness", "factor", value_range=(0, 255), seed=None)
RandomColorDegeneration = _augmentation(
    "RandomColorDegeneration", "factor", value_range=(0, 255), data_format=None, seed=None
)
RandomColorJitter = _augmentation(
    "RandomColorJitter",
    value_range=(0, 255),
    brightness_factor=None,
    contrast_factor=None,
    saturation_factor=None,
    hue_factor=None,
    **_END,
)
RandomContrast = _augmentation("RandomContrast", "factor", value_range=(0, 255), seed=None)
RandomElasticTransform = _augmentation(
    "RandomElasticTransform",
    factor=1.0,
    scale=1.0,
    interpolation="bilinear",
    fill_mode="reflect",
    fill_value=0.0,
    value_range=(0, 255),
    **_END,
)
RandomErasing = _augmentation(
    "RandomErasing", factor=1.0, scale=(0.02, 0.33), fill_value=None, value_range=(0, 255), **_END
)
RandomFlip = _augmentation("RandomFlip", mode="horizontal_and_vertical", **_END)
RandomGaussianBlur = _augmentation(
    "RandomGaussianBlur", factor=1.0, kernel_size=3, sigma=1.0, value_range=(0, 255), data_format=None, seed=None
)
RandomGrayscale = _augmentation("RandomGrayscale", factor=0.5, data_format=None, seed=None)
RandomHue = _augmentation("RandomHue", "factor", value_range=(0, 255), data_format=None, seed=None)
RandomInvert = _augmentation("RandomInvert", factor=1.0, value_range=(0, 255), **_END)
RandomPerspective = _augmentation(
    "RandomPerspective", factor=1.0, scale=1.0, interpolation="bilinear", fill_value=0.0, **_END
)
RandomPosterization = _augmentation("RandomPosterization", "factor", value_range=(0, 255), data_format=None, seed=None)
RandomRotation = _augmentation("RandomRotation", "factor", **_FILL)
RandomSaturation = _augmentation("RandomSaturation", "factor", value_range=(0, 255), data_format=None, seed=None)
RandomSharpness = _augmentation("RandomSharpness", "factor", value_range=(0, 255), data_format=None, seed=None)
RandomShear = _augmentation(
    "RandomShear",
    x_factor=0.0,
    y_factor=0.0,
    interpolation="bilinear",
    fill_mode="reflect",
    fill_value=0.0,
    data_format=None,
    seed=None,
)
RandomTranslation = _augmentation("RandomTranslation", "height_factor", "width_factor", **_FILL)
RandomZoom = _augmentation("RandomZoom", "height_factor", width_factor=None, **_FILL)
