"""Hashes of many strings at once, as TensorFlow has them: FarmHash's Fingerprint64, and SipHash-2-4.

Strings of one length are a matrix of bytes, a row each, and every step below is one operation on a column of such rows:
unsigned 64-bit sums and products wrap around, as both definitions ask for.
SipHash is that of Aumasson and Bernstein's paper (2012); FarmHash's constants and steps are all that defines it.
Next: layers/hashing.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
# (strings, length) bytes -> (strings,) hashes
OfOneLength = Callable[[Array], Array]

_U64 = np.uint64
# FarmHash's constants, and that of the function that joins two fingerprints
_K0, _K1, _K2 = (_U64(value) for value in (0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F))
_JOIN = _U64(0xC6A4A7935BD1E995)


def hashed(strings: Sequence[bytes], function: OfOneLength) -> Array:
    """The hash of each string, (strings,) uint64, by a function of strings of one length."""
    lengths = np.fromiter(map(len, strings), np.int64, len(strings))
    hashes = np.empty(len(strings), _U64)
    for length in np.unique(lengths).tolist():
        places = np.flatnonzero(lengths == length)
        together = b"".join([strings[place] for place in places.tolist()])
        hashes[places] = function(np.frombuffer(together, np.uint8).reshape(len(places), length))
    return hashes


# -- FarmHash -----------------------------------------------------------------------------------------------------


def fingerprint64(text: Array) -> Array:
    """FarmHash's Fingerprint64 of the rows of bytes, (strings, length)."""
    length = text.shape[1]
    with np.errstate(over="ignore"):
        if length <= 16:
            return _short(text, length)
        if length <= 32:
            return _medium(text, length)
        return _longer(text, length) if length <= 64 else _long(text, length)


def joined(first: Array, second: Array) -> Array:
    """TensorFlow's FingerprintCat64 of two fingerprints."""
    with np.errstate(over="ignore"):
        result = (first ^ _JOIN) ^ (_shifted(second * _JOIN) * _JOIN)
        return _shifted(_shifted(result * _JOIN) * _JOIN)


def _word(text: Array, place: int, width: int = 8) -> Array:
    """The little-endian words of so many bytes at a place, (strings,)."""
    words: Array = np.ascontiguousarray(text[:, place : place + width]).view(f"<u{width}")
    return words[:, 0].astype(_U64)


def _rotated_right(value: Array, count: int) -> Array:
    return (value >> _U64(count)) | (value << _U64(64 - count))  # type: ignore[no-any-return]


def _shifted(value: Array) -> Array:
    return value ^ (value >> _U64(47))  # type: ignore[no-any-return]


def _mixed(first: Array, second: Array, factor: Any) -> Array:
    """The hash of 16 bytes, which are two words."""
    once = _shifted((first ^ second) * factor)
    return _shifted((second ^ once) * factor) * factor  # type: ignore[no-any-return]


def _factor(length: int) -> Any:
    return _K2 + _U64(2 * length)


def _short(text: Array, length: int) -> Array:
    factor = _factor(length)
    if length >= 8:
        first, last = _word(text, 0) + _K2, _word(text, length - 8)
        return _mixed(_rotated_right(last, 37) * factor + first, (_rotated_right(first, 25) + last) * factor, factor)
    if length >= 4:
        first = (_word(text, 0, 4) << _U64(3)) + _U64(length)
        return _mixed(first, _word(text, length - 4, 4), factor)
    if length == 0:
        return np.full(len(text), _K2)
    first, middle, last = (text[:, place].astype(_U64) for place in (0, length >> 1, length - 1))
    y, z = first + (middle << _U64(8)), _U64(length) + (last << _U64(2))
    return _shifted(y * _K2 ^ z * _K0) * _K2  # type: ignore[no-any-return]


def _ends(text: Array, length: int) -> tuple[Array, Array, Array, Array]:
    """The first word, and the two words made of 16 bytes at both ends; the second with the factor of its length."""
    factor = _factor(length)
    return (
        _word(text, 0),
        _word(text, 8),
        _word(text, length - 8) * factor,
        _word(text, length - 16) * _K2,
    )


def _medium(text: Array, length: int) -> Array:
    a, b, c, d = _ends(text, length)
    a = a * _K1
    return _mixed(
        _rotated_right(a + b, 43) + _rotated_right(c, 30) + d, a + _rotated_right(b + _K2, 18) + c, _factor(length)
    )


def _longer(text: Array, length: int) -> Array:
    factor = _factor(length)
    a, b, c, d = _ends(text, length)
    a = a * _K2
    y = _rotated_right(a + b, 43) + _rotated_right(c, 30) + d
    z = _mixed(y, a + _rotated_right(b + _K2, 18) + c, factor)
    e, f = _word(text, 16) * factor, _word(text, 24)
    g, h = (y + _word(text, length - 32)) * factor, (z + _word(text, length - 24)) * factor
    return _mixed(_rotated_right(e + f, 43) + _rotated_right(g, 30) + h, e + _rotated_right(f + a, 18) + g, factor)


def _seeded(text: Array, place: int, a: Array, b: Array) -> tuple[Array, Array]:
    """The weak hash of 32 bytes, two words, from two seeds."""
    w, x, y, z = (_word(text, place + 8 * index) for index in range(4))
    a = a + w
    b = _rotated_right(b + a + z, 21)
    whole = a + x + y
    return whole + z, b + _rotated_right(whole, 44) + a


def _long(text: Array, length: int) -> Array:
    """The state is seven words, which take 64 bytes a turn; the last turn takes the last 64 bytes."""
    zero = np.zeros(len(text), _U64)
    seed = _U64(81)
    y = zero + (seed * _K1 + _U64(113))
    z = _shifted(y * _K2 + _U64(113)) * _K2
    x = zero + seed * _K2 + _word(text, 0)
    v, w = (zero, zero), (zero, zero)

    def turn(place: int, factor: Any, weight: Any) -> None:
        nonlocal x, y, z, v, w
        x = _rotated_right(x + y + v[0] + _word(text, place + 8), 37) * factor
        y = _rotated_right(y + v[1] + _word(text, place + 48), 42) * factor
        x = x ^ (w[1] * weight)
        y = y + v[0] * weight + _word(text, place + 40)
        z = _rotated_right(z + w[0], 33) * factor
        v = _seeded(text, place, v[1] * factor, x + w[0])
        w = _seeded(text, place + 32, z + w[1], y + _word(text, place + 16))
        x, z = z, x

    for place in range(0, (length - 1) // 64 * 64, 64):
        turn(place, _K1, _U64(1))
    factor = _K1 + ((z & _U64(0xFF)) << _U64(1))
    rest = w[0] + _U64((length - 1) & 63)
    v = (v[0] + rest, v[1])
    w = (rest + v[0], w[1])
    turn(length - 64, factor, _U64(9))
    return _mixed(_mixed(v[0], w[0], factor) + _shifted(y) * _K0 + z, _mixed(v[1], w[1], factor) + x, factor)


# -- SipHash ------------------------------------------------------------------------------------------------------


def siphash(key: Sequence[int]) -> OfOneLength:
    """SipHash-2-4 with a key of two 64-bit numbers, as a function of rows of bytes."""
    first, second = (_U64(number % (1 << 64)) for number in key)
    return partial(_keyed, first, second)  # which a layer that is pickled can hold


def _keyed(first: Any, second: Any, text: Array) -> Array:
    count, length = text.shape
    padded = np.zeros((count, length // 8 * 8 + 8), np.uint8)
    padded[:, :length] = text
    padded[:, -1] = length % 256
    with np.errstate(over="ignore"):
        state = [
            np.full(count, half ^ _U64(constant))
            for half, constant in zip(
                (first, second, first, second),  # "somepseudorandomlygeneratedbytes"
                (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573),
                strict=True,
            )
        ]
        for place in range(0, padded.shape[1], 8):
            word = _word(padded, place)
            state[3] = state[3] ^ word
            state = _rounds(state, 2)
            state[0] = state[0] ^ word
        state[2] = state[2] ^ _U64(0xFF)
        a, b, c, d = _rounds(state, 4)
    return a ^ b ^ c ^ d


def _rounds(state: list[Array], count: int) -> list[Array]:
    a, b, c, d = state
    for _ in range(count):
        a, c = a + b, c + d
        b, d = _rotated_right(b, 64 - 13) ^ a, _rotated_right(d, 64 - 16) ^ c
        a = _rotated_right(a, 64 - 32)
        c, a = c + b, a + d
        b, d = _rotated_right(b, 64 - 17) ^ c, _rotated_right(d, 64 - 21) ^ a
        c = _rotated_right(c, 64 - 32)
    return [a, b, c, d]
