"""Spectrograms of sound, which audio models have before a recurrent layer.

STFTSpectrogram is a convolution with kernels of cosines and sines, MelSpectrogram a Fourier transform of windows.
Next: convolution.py.
"""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np

from lstmfast import _core, activations
from lstmfast._pieces import contiguous, copied, extreme, in_pieces, spread
from lstmfast.layers.arguments import keys_of, number, numbers, positive
from lstmfast.layers.base import Array, Layer, Run, register
from lstmfast.layers.convolution import Convolving, windows_out

_MODES = ("log", "magnitude", "psd", "real", "imag", "angle", "stft")
_EPSILON = 1e-7  # Keras's
_MOST_SHARES = 1 << 24  # of bins in mel bins: a config alone sets them
# The windows that are sums of cosines: what each multiple of the angle counts.
_COSINES = {
    "boxcar": (1.0,),
    "hann": (0.5, 0.5),
    "hamming": (0.54, 0.46),
    "blackman": (0.42, 0.5, 0.08),
    "blackmanharris": (0.35875, 0.48829, 0.14128, 0.01168),
}


def _cosine_window(name: str, length: int, period: int) -> Array:
    """(length,): a window that ends where it begins after ``period`` samples."""
    angles = np.arange(length) * (2 * np.pi / max(period, 1)) - np.pi
    cosines = [factor * np.cos(multiple * angles) for multiple, factor in enumerate(_COSINES[name])]
    return np.sum(cosines, axis=0) if length > 1 else np.ones(1)


def _checked_window(window: Any) -> Any:
    """A window's name, its values, or None."""
    return window if window is None or isinstance(window, str) else numbers("window", window)


def _given_window(window: Any, length: int, argument: str) -> Array:
    values = np.asarray(window)
    if values.shape != (length,):
        raise ValueError(f"The shape of `window` must be equal to [{argument}]: ({length},). Received: {values.shape}")
    return values


def _kernel(
    shape: tuple[int, ...], dtype: Any = None, *, side: str, window: Any, scaling: Any, periodic: bool, real: Any
) -> Array:
    """(frame_length, 1, bins): cosines or sines, each operation in the type in which Keras rounds it."""
    length, _, bins = shape
    times, frequencies = np.arange(length, dtype=real)[:, None], np.arange(bins, dtype=real) / real.type((bins - 1) * 2)
    angles = real.type(-2) * times * frequencies * real.type(np.pi)
    kernel = np.cos(angles) if side == "real" else np.sin(angles)
    if window is not None:
        if not isinstance(window, str):
            values = _given_window(window, length, "frame_length")
        elif window in _COSINES:
            values = _cosine_window(window, length, length if periodic else length - 1)
        else:
            raise NotImplementedError(
                f"The window {window!r} of a new STFTSpectrogram is not supported, only {', '.join(_COSINES)}: pass "
                "its values."
            )
        values = values.astype(real)
        sums = {"density": lambda: np.sqrt(np.sum(values * values)), "spectrum": lambda: np.sum(np.abs(values))}
        kernel = kernel * values[:, None] / (sums[scaling]() if scaling else real.type(1))
    return np.asarray(kernel[:, None, :])


def _parts(y: Array) -> tuple[Array, Array]:
    """The real and the imaginary part, which lie side by side."""
    bins = y.shape[-1] // 2
    return y[..., :bins], y[..., bins:]


def _angle(y: Array) -> Array:
    real, imaginary = _parts(y)
    return np.asarray(np.arctan2(imaginary, real))


def _power(y: Array) -> Array:
    real, imaginary = _parts(y)
    return np.asarray(real * real + imaginary * imaginary)


def _density(y: Array) -> Array:
    power = _power(y)
    power[..., 1:-1] *= 2  # for the negative frequencies
    return power


def _magnitude(y: Array) -> Array:
    return np.asarray(np.sqrt(np.maximum(_power(y), y.dtype.type(_EPSILON))))


def _logarithm(y: Array) -> Array:
    return np.asarray(np.log(np.maximum(_magnitude(y), y.dtype.type(_EPSILON))))


_RESULTS = {"angle": _angle, "psd": _density, "magnitude": _magnitude, "log": _logarithm}


@register()
class STFTSpectrogram(Layer):
    """Keras's STFTSpectrogram layer: (batch, samples, channels) -> (batch, frames, channels * bins).

    Parameters
    ----------
    mode : {"log", "magnitude", "psd", "real", "imag", "angle", "stft"}
        What the output is: of the complex values of each bin, all but the last two are one number; ``"stft"`` gives the
        real parts and behind them the imaginary ones, twice as many bins.
    frame_length, frame_step : int
        How many samples a frame has, and after how many the next one begins; half of those by default.
    fft_length : int, optional
        Twice the number of bins, less one of these; the next power of 2 from ``frame_length`` on by default.
    window : str, array-like or None
        What a new layer weighs the samples of a frame by: (frame_length,), or the name of a window that is a sum of
        cosines. The weights of a file are what they are.
    periodic : bool
        Whether a named window ends one sample before it is where it began.
    scaling : {"density", "spectrum", None}
        What a new layer's window is divided by.
    padding : {"valid", "same"}
        How the borders are filled.
    expand_dims : bool
        Whether bins and channels are axes of their own, (batch, frames, bins, channels).
    data_format : str, optional
        With ``"channels_first"`` the channels are axis 1 of inputs and outputs, and the bins the last one where they
        are an axis of their own.

    Examples
    --------
    >>> import numpy as np
    >>> from lstmfast import layers
    >>> layers.STFTSpectrogram(frame_length=64)(np.zeros((2, 320, 1))).shape
    (2, 9, 33)
    """

    ndim = 3
    supports_masking = False

    def __init__(
        self,
        mode: str = "log",
        frame_length: int = 256,
        frame_step: int | None = None,
        fft_length: int | None = None,
        window: Any = "hann",
        periodic: bool = False,
        scaling: str | None = "density",
        padding: str = "valid",
        expand_dims: bool = False,
        data_format: Any = None,
        **kwargs: Any,
    ) -> None:
        frame_length = positive("frame_length", frame_length)
        step = frame_length // 2 if frame_step is None else frame_step
        if not 1 <= step <= frame_length:
            raise ValueError(
                "`frame_step` should be a positive integer not greater than `frame_length`. Received "
                f"frame_step={step}, frame_length={frame_length}"
            )
        length = 1 << (frame_length - 1).bit_length() if fft_length is None else fft_length
        if length < frame_length:
            raise ValueError(
                f"`fft_length` should be not less than `frame_length`. Received fft_length={fft_length}, "
                f"frame_length={frame_length}"
            )
        if length & (length - 1):
            warnings.warn(
                f"`fft_length` is recommended to be a power of two. Received fft_length={fft_length}", stacklevel=2
            )
        if mode not in _MODES:
            raise ValueError(f"Output mode is invalid, it must be one of {', '.join(_MODES)}. Received: mode={mode}")
        if scaling not in (None, "density", "spectrum"):
            raise ValueError(
                f"Scaling is invalid, it must be `None`, 'density' or 'spectrum'. Received scaling={scaling}"
            )
        if padding not in ("valid", "same"):
            raise ValueError(f"Padding is invalid, it should be 'valid', 'same'. Received: padding={padding}")
        super().__init__(**kwargs)
        self.mode, self.scaling, self.padding = mode, scaling, padding
        self.frame_length, self.frame_step, self.fft_length = frame_length, frame_step, fft_length
        self._step, self._bins = positive("frame_step", step), positive("fft_length", length) // 2 + 1
        self.window, self.periodic = _checked_window(window), bool(periodic)
        self.expand_dims, self.data_format = bool(expand_dims), data_format or "channels_last"

    config_keys = keys_of(__init__)

    def build_weights(self, input_shape: Any) -> None:
        for side, other in (("real", "imag"), ("imag", "real")):
            if self.mode != other:
                made = partial(
                    _kernel,
                    side=side,
                    window=self.window,
                    scaling=self.scaling,
                    periodic=self.periodic,
                    real=self.policy.real,
                )
                self.add_weight(f"{side}_kernel", (self.frame_length, 1, self._bins), made)

    def compute_output_shape(self, input_shape: Any) -> Any:
        first = self.data_format == "channels_first"
        batch, samples, channels = (input_shape[axis] for axis in ((0, 2, 1) if first else (0, 1, 2)))
        frames = windows_out(samples, self.frame_length, self._step, 1, self.padding, self.name)
        bins = self._bins * (2 if self.mode == "stft" else 1)
        if self.expand_dims:
            return (batch, channels, frames, bins) if first else (batch, frames, bins, channels)
        columns = None if channels is None else channels * bins
        return (batch, columns, frames) if first else (batch, frames, columns)

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        kernel = np.concatenate(self.packed(weights), axis=-1)
        convolve = Convolving(kernel, None, activations.LINEAR, (self._step,), (1,), self.padding, self.name)
        result, shape_of = _RESULTS.get(self.mode), self.compute_output_shape
        first, expanded = self.data_format == "channels_first", self.expand_dims
        # of (batch, channels, frames, bins)
        order = ((0, 1, 2, 3) if expanded else (0, 1, 3, 2)) if first else ((0, 2, 3, 1) if expanded else (0, 2, 1, 3))

        def run(x: Array) -> Array:
            signals = x if first else x.transpose(0, 2, 1)
            batch, channels, samples = signals.shape
            y = convolve(contiguous(signals).reshape(batch * channels, samples, 1))
            if result is not None:
                y = in_pieces(result, y, cut=-1)
            y = contiguous(y.reshape(batch, channels, *y.shape[1:]).transpose(order))
            return np.asarray(y.reshape(shape_of(x.shape)))

        return run


def _mel(hertz: Array) -> Array:
    """Frequencies on the mel scale; float32."""
    ratio = np.float32(1) + hertz / np.float32(700)
    return np.asarray(np.float32(1127) * np.log(ratio.astype(np.float64)).astype(np.float32))


def _evenly(first: Any, last: Any, count: int) -> Array:
    """So many numbers from the first to the last; float32, as are the steps between them."""
    values = first + (last - first) / np.float32(count - 1) * np.arange(count, dtype=np.float32)
    values[-1] = last
    return np.asarray(values)


def _mel_weights(bins: int, mels: int, sampling_rate: float, lowest: float, highest: float) -> Array:
    """(bins, mels): the share of each frequency in triangles that are even on the mel scale; float32, as in Keras."""
    zero = np.float32(0)
    frequencies = _mel(_evenly(zero, np.float32(sampling_rate) / np.float32(2), bins)[1:])[:, None]
    edges = _evenly(_mel(np.float32(lowest)), _mel(np.float32(highest)), mels + 2)
    lower, center, upper = edges[:-2], edges[1:-1], edges[2:]
    with np.errstate(divide="ignore", invalid="ignore"):
        rising, falling = (frequencies - lower) / (center - lower), (upper - frequencies) / (upper - center)
    shares = np.maximum(zero, np.minimum(rising, falling))
    return np.concatenate([np.zeros((1, mels), np.float32), shares])


@register()
class MelSpectrogram(Layer):
    """Keras's MelSpectrogram layer: (batch, samples), or (samples,) -> (batch, num_mel_bins, frames).

    Parameters
    ----------
    fft_length : int
        Of the Fourier transform of each frame.
    sequence_stride, sequence_length : int
        After how many samples the next frame begins, and how many of a frame the window weighs; ``fft_length`` by
        default. The signal is reflected at its ends, so that frames are centered.
    window : {"hann", "hamming"}, array-like or None
        What the samples of a frame are weighed by, (sequence_length,).
    sampling_rate : int
        Samples per second.
    num_mel_bins, min_freq, max_freq
        How many mel bins there are, and their bounds in hertz; half of ``sampling_rate`` by default.
    power_to_db : bool
        Whether the output is in decibels.
    top_db : float
        How far below the largest value of a whole batch the decibels reach: with ``power_to_db`` a row's result depends
        on its batch, as in Keras.
    mag_exp : float
        What power of the magnitudes.
    min_power, ref_power : float
        The least power, and that of 0 decibels.

    Examples
    --------
    >>> import numpy as np
    >>> from lstmfast import layers
    >>> layers.MelSpectrogram(256, 64, num_mel_bins=20)(np.ones((2, 1000))).shape
    (2, 20, 16)
    """

    min_ndim = 1
    supports_masking = False

    def __init__(
        self,
        fft_length: int = 2048,
        sequence_stride: int = 512,
        sequence_length: int | None = None,
        window: Any = "hann",
        sampling_rate: int = 16000,
        num_mel_bins: int = 128,
        min_freq: float = 20.0,
        max_freq: float | None = None,
        power_to_db: bool = True,
        top_db: float = 80.0,
        mag_exp: float = 2.0,
        min_power: float = 1e-10,
        ref_power: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.fft_length = positive("fft_length", fft_length)
        self.sequence_stride = positive("sequence_stride", sequence_stride)
        self.sequence_length = positive("sequence_length", sequence_length or fft_length)
        if self.fft_length < self.sequence_length:
            raise ValueError(
                "`fft_length` must be greater than or equal to `sequence_length`. Received: `sequence_length`="
                f"{sequence_length}, `fft_length`={fft_length}."
            )
        if isinstance(window, str) and window not in ("hann", "hamming"):
            raise ValueError(
                f'If a string is passed to `window`, it must be one of `"hann"`, `"hamming"`. Received: {window}'
            )
        self.window = _checked_window(window)
        if window is not None and not isinstance(window, str):
            _given_window(window, self.sequence_length, "sequence_length")
        self.sampling_rate, self.num_mel_bins = (
            number("sampling_rate", sampling_rate),
            positive("num_mel_bins", num_mel_bins),
        )
        if self.fft_length * self.num_mel_bins > _MOST_SHARES:
            raise ValueError(
                f"MelSpectrogram takes fft_length * num_mel_bins up to {_MOST_SHARES}. Received: "
                f"fft_length={fft_length}, num_mel_bins={num_mel_bins}"
            )
        self.min_freq, self.max_freq = (
            number("min_freq", min_freq),
            number("max_freq", max_freq or int(sampling_rate / 2)),
        )
        self.power_to_db, self.top_db = bool(power_to_db), number("top_db", top_db)
        self.mag_exp, self.min_power = number("mag_exp", mag_exp), number("min_power", min_power)
        self.ref_power = number("ref_power", ref_power)

    config_keys = keys_of(__init__)

    def mixes_batch(self, training: bool | None) -> bool:
        """The largest of the decibels is that of all rows."""
        return self.power_to_db

    def _weights_of_frame(self) -> Array | None:
        """(fft_length,): the window, and zeros around it; None where there is none."""
        length = self.sequence_length
        if self.window is None:
            return None
        if isinstance(self.window, str):
            values = _cosine_window(self.window, length, length - length % 2)  # as TensorFlow understands periodic
        else:
            values = _given_window(self.window, length, "sequence_length")
        before = (self.fft_length - length) // 2
        return np.pad(values, (before, self.fft_length - length - before))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """That of the result; Keras's own is one frame longer where the samples and one more fill frames."""
        *batch, samples = input_shape
        reflected = self.fft_length // 2
        if samples is not None and samples <= reflected:
            raise ValueError(
                f"Layer '{self.name}' with fft_length={self.fft_length} takes signals of more than {reflected} "
                f"samples. Full shape received: {tuple(input_shape)}"
            )
        frames = None
        if samples is not None:
            frames = (samples + 2 * reflected - self.fft_length) // self.sequence_stride + 1
        return (*batch, self.num_mel_bins, frames)

    def freeze(self, weights: tuple[Array, ...]) -> Run:
        size, stride, real, shape_of = (
            self.fft_length,
            self.sequence_stride,
            self.policy.real,
            self.compute_output_shape,
        )
        window, exponent = self._weights_of_frame(), real.type(self.mag_exp)
        window = None if window is None else window.astype(real)
        bins = size // 2 + 1
        shares = _mel_weights(bins, self.num_mel_bins, self.sampling_rate, self.min_freq, self.max_freq)
        apply = _core.PackedLayer("dense", shares.astype(real), None, None, activations.LINEAR, None).apply
        decibels = self._decibels if self.power_to_db else None

        def magnitudes(frames: Array) -> Array:
            values = np.fft.rfft(frames if window is None else frames * window)
            power = np.square(values.real.astype(real)) + np.square(values.imag.astype(real))
            return np.asarray(np.sqrt(power) ** exponent)

        def run(x: Array) -> Array:
            shape = shape_of(x.shape)
            reflected = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(size // 2, size // 2)], mode="reflect")
            frames = np.lib.stride_tricks.sliding_window_view(reflected, size, axis=-1)[..., ::stride, :]
            spectrum = contiguous(in_pieces(magnitudes, frames, cut=-1)).reshape(-1, bins)
            y = apply(spectrum, None, 0)
            if decibels is not None and y.size:
                y = decibels(y)
            return copied(y.reshape(*shape[:-2], shape[-1], shape[-2]).swapaxes(-1, -2))

        return run

    def _decibels(self, power: Array) -> Array:
        real = power.dtype.type
        reference = real(10) * np.log10(np.maximum(np.abs(real(self.ref_power)), real(self.min_power)))
        y = spread(lambda some: real(10) * np.log10(np.maximum(some, real(self.min_power))) - reference, power)
        return spread(np.maximum, y, extreme(np.maximum, y) - real(self.top_db))


__all__ = ["MelSpectrogram", "STFTSpectrogram"]
