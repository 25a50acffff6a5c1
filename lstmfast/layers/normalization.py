"""Normalizing layers: over the last axes in the core, over others by sums whose order the batch does not change.

Next: base.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from lstmfast import _core, _pieces, initializers
from lstmfast._arrays import as_array, ordered_mean, ordered_sum
from lstmfast._graph import Shape
from lstmfast._pieces import cast, contiguous, in_pieces, spread
from lstmfast.layers.arguments import as_mask, is_over_rows, keys_of, numbers, positive
from lstmfast.layers.base import Array, Layer, Run, cut, passing, register
from lstmfast.layers.transactions import all_or_nothing


def _axes(axis: Any, ndim: int) -> tuple[int, ...]:
    """One or several axes of an array as sorted non-negative numbers."""
    several = axis if isinstance(axis, (list, tuple)) else [axis]
    if any(not -ndim <= one < ndim for one in several):
        raise ValueError(f"Invalid axis {axis} for inputs with {ndim} axes.")
    return tuple(sorted(one % ndim for one in several))


def _is_last(axis: Any, shape: Any) -> bool:
    """Whether an axis of inputs is their last one; ``shape`` is theirs, or None where it is not known yet."""
    return axis in (-1, [-1], (-1,)) or (shape is not None and _axes(axis, len(shape)) == (len(shape) - 1,))


def _moments(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """Mean and variance over ``axes``, which stay with size 1."""
    mean = ordered_mean(x, axes)
    return mean, ordered_mean(_squared_distance(x, mean), axes)


def _squared_distance(x: Array, mean: Array) -> Array:
    if x.size > _pieces.PIECE:
        return in_pieces(_squared_distance, x, mean)
    y: Array = np.square(x - mean)
    return y


class _Normalization(Layer):
    """Base of the layers with a scale ``gamma`` and an offset ``beta``."""

    epsilon: float
    center: bool
    scale: bool

    def on_integers(self, run: Run) -> Run:
        """Where integers are taken as they are, Keras makes such of the results, and floats of these."""
        whole, real = cut(run, self.policy.real), self.policy.real
        return lambda x: cast(whole(x), real)

    def made_of_integers(self, dtype: Any) -> str:
        return self.policy.compute_dtype

    def _take(self, arguments: dict[str, Any]) -> None:
        """Keep a constructor's arguments: initializers as such, everything else for the config."""
        for name, value in arguments.items():
            if name in self.config_keys:
                setattr(self, name, initializers.get(value) if name.endswith("_initializer") else value)

    def add_scale(self, shape: Shape) -> None:
        """Declare ``gamma`` and ``beta``, as far as the layer has them."""
        if self.scale:
            self.add_weight("gamma", shape, self.gamma_initializer)  # type: ignore[attr-defined]
        if self.center:
            self.add_weight("beta", shape, self.beta_initializer)  # type: ignore[attr-defined]

    def named(self, weights: tuple[Array, ...]) -> dict[str, Array]:
        """The packed weights by name."""
        return {spec.name: value for spec, value in zip(self._specs, self.packed(weights), strict=True)}


@register("SyncBatchNormalization")
class BatchNormalization(_Normalization):
    """Keras's BatchNormalization layer, with the statistics it was saved with.

    Parameters
    ----------
    axis : int
        Of the features.
    epsilon : float
        Added to the variance.
    center, scale : bool
        Whether there are ``beta`` and ``gamma``.

    Notes
    -----
    Called with ``training=True`` it takes mean and variance from the inputs of that call, of the steps that a mask
    (batch, steps) leaves, unless it has ``trainable=False``: as in Keras, but for the moving statistics. lstmfast does
    not train, so a call changes no weight.
    """

    call_arguments = ("inputs", "training", "mask")
    uses_mask = True
    row_by_row_in_training = False
    counts_masked = False  # made from one that has no mask here: all steps count
    inert_arguments = ("fused", "virtual_batch_size")

    def __init__(
        self,
        axis: Any = -1,
        momentum: float = 0.99,
        epsilon: float = 0.001,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        renorm: bool = False,
        renorm_clipping: Any = None,
        renorm_momentum: float = 0.99,
        synchronized: bool = False,
        **kwargs: Any,
    ) -> None:
        arguments = locals()
        self._by_parts = bool(kwargs.get("virtual_batch_size"))
        super().__init__(**kwargs)
        self._take(arguments)
        if isinstance(axis, (list, tuple)):
            if len(axis) != 1:
                raise NotImplementedError(f"BatchNormalization over several axes {axis} is not supported.")
            self.axis = axis[0]

    config_keys = keys_of(__init__)

    axis: int
    renorm: bool

    @property
    def per_step(self) -> bool:  # type: ignore[override]
        return self.axis == -1 or (self.build_shape is not None and self.axis == len(self.build_shape) - 1)

    def build_weights(self, input_shape: Any) -> None:
        size = self.fix_axis(input_shape, _axes(self.axis, len(input_shape))[0])
        self.add_scale((size,))
        self.add_weight("moving_mean", (size,), self.moving_mean_initializer, trainable=False)  # type: ignore[attr-defined]
        self.add_weight("moving_variance", (size,), self.moving_variance_initializer, trainable=False)  # type: ignore[attr-defined]
        for name in ("moving_stddev", "renorm_mean", "renorm_stddev") if self.renorm else ():
            self.add_weight(name, (size,), "zeros", trainable=False)  # of training alone

    def get_config(self) -> dict[str, Any]:
        """As Keras's, whose earlier versions know nothing of renormalizing."""
        config = super().get_config()
        left_out = () if self.renorm else ("renorm", "renorm_clipping", "renorm_momentum")
        return {key: value for key, value in config.items() if key not in left_out}

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        values = self.named(weights)
        real = self.policy.real.type
        mean, variance = values["moving_mean"], values["moving_variance"]
        scale = real(1) / np.sqrt(variance + real(self.epsilon))
        if "gamma" in values:
            scale = scale * values["gamma"]
        offset = -mean * scale
        if "beta" in values:
            offset = offset + values["beta"]
        shape = self._feature_shape()
        if shape == (-1,):
            return passing(lambda x, out: _core.scale(x, None, scale, offset, out))
        scale, offset = scale.reshape(shape), offset.reshape(shape)

        def run(
            x: Array, scale: Array = scale, offset: Array = offset, training: Any = None, mask: Any = None
        ) -> Array:
            if x.size > _pieces.PIECE:
                return in_pieces(run, x, scale, offset)
            y: Array = x * scale
            y += offset
            return y

        return run

    def _feature_shape(self) -> tuple[int, ...]:
        """What makes an array of the features one that goes with inputs."""
        ndim = len(self.build_shape)
        return (-1, *[1] * (ndim - 1 - _axes(self.axis, ndim)[0]))

    def run_for(self, arguments: dict[str, Any]) -> Run:
        if not arguments.get("training"):
            return self.frozen()
        return self.noisy_run(lambda: self._by_batch(self.frozen(), self._own_weights()))

    def _by_batch(self, frozen: Run, weights: tuple[Array, ...]) -> Run:
        """What runs the layer with the statistics of its inputs."""
        values = self.named(weights)
        real, shape = self.policy.real.type, self._feature_shape()
        gamma, beta = (values[name].reshape(shape) if name in values else None for name in ("gamma", "beta"))
        epsilon, ndim = real(self.epsilon), len(self.build_shape)
        kept = _axes(self.axis, ndim)[0]
        axes = tuple(axis for axis in range(ndim) if axis != kept)

        def run(x: Array, training: Any = True, mask: Any = None) -> Array:
            if not self.trainable:
                return frozen(x)  # type: ignore[no-any-return]
            valid = self._counted(x, mask)
            if valid is None:
                mean, variance = _moments(x, axes)
            else:
                # Keras 2 divides by the count alone: nan where it is 0
                count = ordered_sum(cast(np.broadcast_to(valid, x.shape), x.dtype), axes)
                count += real(0 if self.of_keras_2 else 1e-7)
                with np.errstate(divide="ignore", invalid="ignore"):
                    mean = ordered_sum(spread(np.where, valid, x, real(0)), axes) / count
                    variance = ordered_sum(spread(squares, x, mean, valid), axes) / count
            factor = real(1) / np.sqrt(variance + epsilon)
            return in_pieces(scaled, x, mean, factor if gamma is None else factor * gamma, beta)

        def squares(x: Array, mean: Array, valid: Array) -> Array:
            y: Array = np.square(np.where(valid, x - mean, real(0)))
            return y

        def scaled(x: Array, mean: Array, factor: Array, beta: Array | None) -> Array:
            y: Array = x - mean
            y *= factor
            if beta is not None:
                y += beta
            return y

        return run

    def _counted(self, x: Array, mask: Any) -> Array | None:
        """A mask as an array that goes with inputs; None where all of them count."""
        # tf.keras's kernel for images has none either
        if mask is None or self.counts_masked or (self.of_keras_2 and x.ndim in (4, 5)):
            return None
        self._check_rank(mask, x.shape)
        valid: Array = mask[..., None] != 0
        return valid

    def convert_arguments(self, shapes: Any, arguments: dict[str, Any]) -> dict[str, Any]:
        mask = arguments.get("mask")
        if mask is not None and not self.of_keras_2:
            self._check_rank(as_array(mask, "the mask"), shapes)
        if not arguments.get("training"):
            return {}
        return {"training": True} | ({} if mask is None else {"mask": as_mask(mask, shapes[:-1], self.name)})

    def _check_rank(self, mask: Array, shape: Shape) -> None:
        if mask.ndim != len(shape) - 1:
            raise ValueError(
                f"Layer '{self.name}' takes a mask with one axis less than its inputs. Received: "
                f"mask.shape={mask.shape}, inputs.shape={shape}"
            )

    def refuse_training(self) -> None:
        """Raise where the layer renormalizes, or takes its statistics from parts of the batch."""
        if self.renorm or self._by_parts:
            raise NotImplementedError(
                f"Layer '{self.name}' with renorm or virtual_batch_size is run for inference only (training=True)."
            )


@register()
class LayerNormalization(_Normalization):
    """Keras's LayerNormalization layer.

    Parameters
    ----------
    axis : int or tuple of int
        Over which to normalize.
    epsilon : float
        Added to the variance.
    center, scale : bool
        Whether there are ``beta`` and ``gamma``.
    """

    keyword_arguments = ("rms_scaling",)
    cuts_integers = True  # made from a file of Keras 3.11 or later, or in code

    def __init__(
        self,
        axis: Any = -1,
        epsilon: float = 0.001,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        arguments = locals()
        self.rms_scaling = bool(kwargs.pop("rms_scaling", False))
        super().__init__(**kwargs)
        self._take(arguments)

    config_keys = keys_of(__init__, more="rms_scaling")

    axis: Any

    @property
    def per_step(self) -> bool:  # type: ignore[override]
        return _is_last(self.axis, self.build_shape)

    @property
    def keeps_integers(self) -> str:  # type: ignore[override]
        return "biu" if self.cuts_integers else ""

    def build_weights(self, input_shape: Any) -> None:
        ndim = len(input_shape)
        axes: Any = _axes(self.axis, ndim)
        if len(axes) > 1:  # the weights have the axes in Keras's order, and take those of the inputs without turning
            axes = [axis % ndim for axis in self.axis] if self.of_keras_2 else sorted(self.axis)
        shape = tuple(self.fix_axis(input_shape, axis) for axis in axes)
        if self.rms_scaling:
            self.add_weight("gamma", shape, self.gamma_initializer)  # type: ignore[attr-defined]
        else:
            self.add_scale(shape)

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        ndim = len(self.build_shape)
        from_end = tuple(axis - ndim for axis in _axes(self.axis, ndim))
        if from_end == tuple(range(-len(from_end), 0)) and not self.rms_scaling:
            return self._over_rows(self.named(weights), len(from_end))
        shape = [1] * -min(from_end)
        for axis in from_end:
            shape[axis] = self.build_shape[axis]
        values = {name: value.reshape(shape) for name, value in self.named(weights).items()}
        gamma, beta = values.get("gamma"), values.get("beta")
        epsilon = self.policy.real.type(self.epsilon)
        rms = self.rms_scaling

        def normalized(x: Array, mean: Array, variance: Array, gamma: Any = gamma, beta: Any = beta) -> Array:
            if x.size > _pieces.PIECE:
                return in_pieces(normalized, x, mean, variance, gamma, beta)
            y: Array = x if rms else x - mean
            y = y * (1 / np.sqrt(variance + epsilon))
            if gamma is not None:
                y *= gamma
            if beta is not None:
                y += beta
            return y

        def run(x: Array) -> Array:
            axes = tuple(axis + x.ndim for axis in from_end)
            mean, variance = _moments(x, axes)
            return normalized(x, mean, variance)

        return run

    def _over_rows(self, values: dict[str, Array], count: int) -> Run:
        """Where all that is normalized together lies together, in the last axes."""
        columns, name = math.prod(self.build_shape[-count:]), self.name
        gamma, beta = (values[name].reshape(-1) if name in values else None for name in ("gamma", "beta"))
        epsilon, sizes = self.epsilon, tuple(self.build_shape[-count:])

        def normalized(x: Array, out: Array | None) -> Array:
            if x.shape[-count:] != sizes:
                raise ValueError(f"Layer '{name}' was built for inputs (..., {sizes}), got one of shape {x.shape}.")
            return _core.normalize("layer", x, columns, epsilon, gamma, beta, out)

        return passing(normalized)


@register()
class GroupNormalization(_Normalization):
    """Keras's GroupNormalization layer.

    Parameters
    ----------
    groups : int
        How many groups of features; -1 for one feature each.
    axis : int
        Of the features.
    epsilon : float
        Added to the variance.
    center, scale : bool
        Whether there are ``beta`` and ``gamma``.
    """

    def __init__(
        self,
        groups: int = 32,
        axis: int = -1,
        epsilon: float = 0.001,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        arguments = locals()
        super().__init__(**kwargs)
        self._take(arguments)

    config_keys = keys_of(__init__)

    groups: int
    axis: int

    @property
    def keeps_integers(self) -> str:  # type: ignore[override]
        return "" if self.of_keras_2 else "biu"

    def build_weights(self, input_shape: Any) -> None:
        (axis,) = _axes(self.axis, len(input_shape))
        size = self.fix_axis(input_shape, axis)
        if self.groups == -1:
            self.groups = size
        positive("groups", self.groups)
        if size % self.groups:
            raise ValueError(
                f"Number of groups ({self.groups}) must be a divisor of the number of channels ({size}). "
                f"Received: input_shape={input_shape}"
            )
        self.add_scale((size,))

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        values = self.named(weights)
        groups = self.groups
        gamma, beta = (values[name].reshape(groups, -1) if name in values else None for name in ("gamma", "beta"))
        (axis,) = _axes(self.axis, len(self.build_shape))
        epsilon = self.policy.real.type(self.epsilon)

        def run(x: Array) -> Array:
            x = np.moveaxis(x, axis, -1)
            parts = x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)
            axes = tuple(place for place in range(1, parts.ndim) if place != parts.ndim - 2)
            y = in_pieces(normalized, parts, *_moments(parts, axes), gamma, beta).reshape(x.shape)
            return contiguous(np.moveaxis(y, -1, axis))

        def normalized(x: Array, mean: Array, variance: Array, gamma: Any, beta: Any) -> Array:
            y: Array = (x - mean) * (1 / np.sqrt(variance + epsilon))
            if gamma is not None:
                y *= gamma
            if beta is not None:
                y += beta
            return y

        return run


@register()
class RMSNormalization(Layer):
    """Keras's RMSNormalization layer: x * scale / sqrt(mean(x^2) + epsilon), of the shape of x.

    Parameters
    ----------
    axis : int or tuple of int
        Over which to take the mean. The weight ``scale`` has the sizes of these axes, and is multiplied with the last
        axes of the input, whichever these are: so does Keras.
    epsilon : float
        Added to the mean of the squares.
    """

    supports_masking = False
    keeps_integers = "biu"
    config_keys = ("axis", "epsilon")

    def __init__(self, axis: Any = -1, epsilon: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis, self.epsilon = axis, epsilon

    def on_integers(self, run: Run) -> Run:
        return cut(run, self.policy.real)

    @property
    def per_step(self) -> bool:  # type: ignore[override]
        return _is_last(self.axis, self.build_shape)

    def compute_output_shape(self, input_shape: Any) -> Any:
        _axes(self.axis, len(input_shape))
        return input_shape

    def build_weights(self, input_shape: Any) -> None:
        _axes(self.axis, len(input_shape))
        several = sorted(self.axis) if isinstance(self.axis, (list, tuple)) else [self.axis]
        shape = tuple(self.fix_axis(input_shape, axis) for axis in several)
        if any(own not in (1, size) for own, size in zip(shape, input_shape[-len(shape) :], strict=True)):
            raise ValueError(
                f"Layer '{self.name}' with axis={self.axis} has a scale of shape {shape}, which does not go with the "
                f"last axes of the input. Full shape received: {input_shape}"
            )
        self.add_weight("scale", shape, "ones")

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        (scale,) = self.packed(weights)
        ndim = len(self.build_shape)
        from_end = [axis - ndim for axis in _axes(self.axis, ndim)]
        epsilon = self.policy.real.type(self.epsilon)

        def normalized(x: Array, mean: Array, scale: Array) -> Array:
            y: Array = x * (1 / np.sqrt(mean + epsilon))
            y *= scale
            return y

        def run(x: Array) -> Array:
            mean = ordered_mean(in_pieces(np.square, x), tuple(axis + x.ndim for axis in from_end))
            return in_pieces(normalized, x, mean, scale)

        return run


@register()
class UnitNormalization(Layer):
    """Keras's UnitNormalization layer: the Euclidean norm over ``axis`` becomes 1.

    Norms are taken for 1e-12 at least, or 1e-6 in a model of Keras 2.
    """

    config_keys = ("axis",)

    def __init__(self, axis: Any = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis

    @property
    def per_step(self) -> bool:  # type: ignore[override]
        return self.axis in (-1, [-1], (-1,))

    def mixes_batch(self, training: bool | None) -> bool:
        """Over the first axis, it sees all rows."""
        return is_over_rows(self.axis, self.build_shape)

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        axis = self.axis
        least = 1e-12 if self.of_keras_2 else 1e-24  # of the sum of squares
        if self.per_step:
            return passing(
                lambda x, out: _core.normalize(
                    "unit", x, x.shape[-1] if x.ndim else len(_axes(-1, 0)), least, None, None, out
                )
            )

        def normalized(x: Array, total: Array) -> Array:
            if x.size > _pieces.PIECE:
                return in_pieces(normalized, x, total)
            y: Array = x * (1 / np.sqrt(np.maximum(total, x.dtype.type(least))))
            return y

        def run(x: Array) -> Array:
            squares = np.square(x) if x.size <= _pieces.PIECE else in_pieces(np.square, x)
            return normalized(x, ordered_sum(squares, _axes(axis, x.ndim)))

        return run


@register()
class Normalization(Layer):
    """Keras's Normalization layer: subtracts a mean and divides by a deviation, both fixed.

    Parameters
    ----------
    axis : int, tuple of int or None
        Which axes have a mean each; None for one mean altogether.
    mean, variance : array-like, optional
        In place of weights.
    invert : bool
        Whether to undo a normalization.
    """

    last_axis_only = False
    stops_mask_before_3 = True
    config_keys = ("axis", "mean", "variance", "invert")

    def __init__(
        self, axis: Any = -1, mean: Any = None, variance: Any = None, invert: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if (mean is None) != (variance is None):
            raise ValueError("When setting values directly, both `mean` and `variance` must be set.")
        self.axis = () if axis is None or axis == [] else axis
        self.mean: Any = None if mean is None else numbers("mean", mean)
        self.variance: Any = None if variance is None else numbers("variance", variance)
        self.invert = bool(invert)

    @property
    def per_step(self) -> bool:  # type: ignore[override]
        return self.axis in (-1, (), [-1], (-1,))

    def build_weights(self, input_shape: Any) -> None:
        ndim = len(input_shape)
        self._kept = _axes(self.axis, ndim) if self.axis != () else ()
        shape = tuple(self.fix_axis(input_shape, axis) for axis in self._kept)
        self._shape = [input_shape[axis] if axis in self._kept else 1 for axis in range(ndim)]
        if self.mean is None:
            self.add_weight("mean", shape, "zeros", trainable=False)
            self.add_weight("variance", shape, "ones", trainable=False)
            self.add_weight("count", (), "zeros", trainable=False)

    def adapt(self, data: Any) -> None:
        """Take mean and variance from data.

        Parameters
        ----------
        data : array, or iterable of batches
            As the inputs. A list is one of batches.

        Raises
        ------
        ValueError
            If mean and variance were given, there is no batch, or one has another shape; nothing has changed then.
        TypeError
            If it holds anything but arrays of numbers.
        """
        if self.mean is not None:
            raise ValueError(f"Cannot adapt layer '{self.name}': its mean and variance were given.")
        whole = hasattr(data, "shape") or not hasattr(data, "__iter__")
        with all_or_nothing([self]):
            mean, variance = self._moments_of([data] if whole else data)
            self.set_weights([mean, variance, self._own_weights()[2]])

    def _moments_of(self, batches: Iterable[Any]) -> tuple[Any, Any]:
        """Mean and variance of data, batch by batch: those of all so far and of the next one come together."""
        total, mean, variance = 0, np.float64(0), np.float64(0)
        for batch in batches:
            own = batch[0] if isinstance(batch, tuple) else batch
            if not hasattr(own, "shape"):
                raise TypeError(f"Layer '{self.name}' is adapted to arrays, not to {type(own).__name__}.")
            x = as_array(own)
            self.check_shape(x.shape)
            self.build(x.shape)
            axes = tuple(axis for axis in range(x.ndim) if axis not in self._kept)
            count = math.prod(x.shape[axis] for axis in axes)
            if not count:
                continue
            total += count
            change, share = np.mean(x, axes, np.float64) - mean, count / total
            variance = (1 - share) * (variance + share * change**2) + share * np.var(x, axes, np.float64)
            mean = mean + share * change
        if not total:
            raise ValueError(f"Layer '{self.name}' cannot be adapted to no data.")
        return mean, variance

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        real, invert = self.policy.real, self.invert
        given = weights[:2] if weights else (self.mean, self.variance)
        mean, variance = (
            np.broadcast_to(
                np.asarray(value, real).reshape(self._shape)
                if np.size(value) == np.prod(self._shape)
                else np.asarray(value, real),
                self._shape,
            )
            for value in given
        )
        deviation = np.maximum(np.sqrt(variance), real.type(1e-7))
        if self._kept and self._kept[0] == len(self.build_shape) - 1:
            columns = self.build_shape[-1]
            mean, deviation = (
                np.ascontiguousarray(np.broadcast_to(one.reshape(-1), (columns,))) for one in (mean, deviation)
            )
            factor = 1 / deviation
            if invert:
                return passing(lambda x, out: _core.scale(x, None, deviation, mean, out))
            return passing(lambda x, out: _core.scale(x, mean, factor, None, out))

        def normalized(x: Array, mean: Array = mean, deviation: Array = deviation) -> Array:
            if x.size > _pieces.PIECE:
                return in_pieces(normalized, x, mean, deviation)
            y: Array = mean + x * deviation if invert else (x - mean) / deviation
            return y

        return normalized


@register()
class Rescaling(Layer):
    """Keras's Rescaling layer: x * scale + offset."""

    stops_mask_before_3 = True
    config_keys = ("scale", "offset")

    def __init__(self, scale: Any, offset: Any = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale, self.offset = numbers("scale", scale), numbers("offset", offset)

    def build_weights(self, input_shape: Any) -> None:
        for name in ("scale", "offset"):
            shape = np.shape(getattr(self, name))
            if any(
                1 not in pair and None not in pair and pair[0] != pair[1]
                for pair in zip(shape[::-1], input_shape[::-1], strict=False)
            ):
                raise ValueError(
                    f"Layer '{self.name}' has {name} of shape {shape}, which does not go with inputs {input_shape}."
                )

    @property
    def per_step(self) -> bool:  # type: ignore[override]
        return max(np.ndim(self.scale), np.ndim(self.offset)) < 2

    @property
    def elementwise(self) -> bool:  # type: ignore[override]
        return np.ndim(self.scale) == np.ndim(self.offset) == 0

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        scale, offset = np.asarray(self.scale, self.policy.real), np.asarray(self.offset, self.policy.real)

        def rescaled(x: Array, scale: Array = scale, offset: Array = offset) -> Array:
            if x.size > _pieces.PIECE:
                return spread(rescaled, x, scale, offset)
            y: Array = x * scale + offset
            return y

        return rescaled


__all__ = [
    "BatchNormalization",
    "GroupNormalization",
    "LayerNormalization",
    "Normalization",
    "RMSNormalization",
    "Rescaling",
    "UnitNormalization",
]
