"""Derives the coefficients of kernels/coefficients.h: Remez exchange in mpmath, then rounding to the target type.

Usage: python csrc/tools/minimax.py [name-prefix]     (needs mpmath; all tables take a few seconds)
Each table is printed as C, with the largest relative error that its rounded coefficients cause in the function.
"""

import struct
import sys

from mpmath import mp, mpf

mp.dps = 60


def round_to(value, real):
    """The float32 or float64 nearest to an mpf (float64 first: a double rounding costs nothing that matters here)."""
    return struct.unpack("f", struct.pack("f", float(value)))[0] if real == "f32" else float(value)


def evaluate(coefficients, x):
    total = mpf(0)
    for coefficient in reversed(coefficients):
        total = total * x + coefficient
    return total


def extrema(error, low, high, count):
    """The `count` alternating extrema of `error` on [low, high], found on a Chebyshev grid."""
    steps = 40 * count
    grid = [(low + high) / 2 - (high - low) / 2 * mp.cos(mp.pi * k / steps) for k in range(steps + 1)]
    values = [error(x) for x in grid]
    points = []  # one per run of equal sign: the largest
    for x, value in zip(grid, values):
        if points and (points[-1][1] > 0) == (value > 0):
            if abs(value) > abs(points[-1][1]):
                points[-1] = (x, value)
        else:
            points.append((x, value))
    while len(points) > count:  # drop the smaller end
        points.pop(0 if abs(points[0][1]) < abs(points[-1][1]) else -1)
    return points


def minimax(function, weight, low, high, degree):
    """Polynomial of `degree` that minimises max |weight * (function - polynomial)| on [low, high]."""
    low, high = mpf(low), mpf(high)
    count = degree + 2
    nodes = [(low + high) / 2 - (high - low) / 2 * mp.cos(mp.pi * k / (count - 1)) for k in range(count)]
    for _ in range(12):
        rows = [[x**power for power in range(degree + 1)] + [(-1) ** k / weight(x)] for k, x in enumerate(nodes)]
        solution = mp.lu_solve(mp.matrix(rows), mp.matrix([function(x) for x in nodes]))
        coefficients = list(solution)[:-1]
        points = extrema(lambda x, c=coefficients: weight(x) * (function(x) - evaluate(c, x)), low, high, count)
        if len(points) < count:
            break
        nodes = [x for x, _ in points]
        sizes = [abs(value) for _, value in points]
        if max(sizes) < min(sizes) * mpf("1.001"):
            break
    return coefficients


TINY = mpf(10) ** -12


def series_safe(function, at_zero):
    """`function`, and its limit where 0/0 would lose all digits."""
    return lambda x: at_zero if abs(x) < TINY else function(x)


half_log2 = mp.log(2) / 2 * mpf("1.0001")
expm1_tail = series_safe(lambda r: (mp.expm1(r) - r) / r**2, mpf(1) / 2)
expm1_slope = series_safe(lambda r: mp.expm1(r) / r, mpf(1))


def log_tail(z):
    if z < mpf(10) ** -12:
        return mpf(2) / 3 + 2 * z / 5
    s = mp.sqrt(z)
    return ((mp.log1p(s) - mp.log1p(-s)) / s - 2) / z


def erfcx(z):
    return mp.exp(z * z) * mp.erfc(z)


def erfcx_folded(t, centre):
    z = centre * (1 + t) / (1 - t)
    return (1 + 2 * z) * erfcx(z)


def erf_small(z):
    return 2 / mp.sqrt(mp.pi) if z < mpf(10) ** -24 else mp.erf(mp.sqrt(z)) / mp.sqrt(z)


def folded(z, centre):
    return (mpf(z) - centre) / (mpf(z) + centre)


# name, real, function, weight (turns the polynomial's error into the result's relative error), interval, degree
TABLES = [
    ("expm1", "f32", expm1_tail, lambda r: abs(r) + mpf("1e-3"), -half_log2, half_log2, 4),
    ("expm1", "f64", expm1_tail, lambda r: abs(r) + mpf("1e-3"), -half_log2, half_log2, 10),
    ("log", "f32", log_tail, lambda z: z / 2 + mpf("1e-5"), 0, mpf("0.02945"), 2),
    ("log", "f64", log_tail, lambda z: z / 2 + mpf("1e-5"), 0, mpf("0.02945"), 6),
    ("erfcx", "f32", lambda t: erfcx_folded(t, 2), lambda t: 1 / erfcx_folded(t, 2), -1, folded("10.5", 2), 9),
    ("erfcx", "f64", lambda t: erfcx_folded(t, 4), lambda t: 1 / erfcx_folded(t, 4), -1, folded(28, 4), 22),
    ("erf", "f32", erf_small, lambda z: 1 / erf_small(z), 0, 1, 6),
    ("erf", "f64", erf_small, lambda z: 1 / erf_small(z), 0, 1, 12),
]


# Where powers of two of every part of an octave are looked up: degrees of exp and of expm1(r) / r.
POWER_PARTS = 8
PART_DEGREES = {"f32": (3, 3), "f64": (7, 7)}
# Digits of tanh's powers: so few that 1 less any of them is exact, or they count nothing.
TANH_DIGITS = 8

BIAS = {"f32": 64, "f64": 512}  # range_bias


def sigmoid_scaled(real, whole):
    """2^range_bias * exp(-r), from the coefficients of exp(r)."""
    return [mpf(2) ** BIAS[real] * (-1) ** k * c for k, c in enumerate(whole)]


def tanh_scaled(whole):
    """-expm1(-2r) / r, from the coefficients of exp(r)."""
    return [-((-2) ** k) * c for k, c in enumerate(whole)][1:]


def largest_error(function, weight, low, high, coefficients):
    grid = [mpf(low) + (mpf(high) - mpf(low)) * k / 400 for k in range(401)]
    return float(mp.log(max(abs(weight(x) * (function(x) - evaluate(coefficients, x))) for x in grid), 2))


def rounded_fit(function, weight, width, degree, real):
    rounded = [mpf(round_to(c, real)) for c in minimax(function, weight, -width, width, degree)]
    return rounded, largest_error(function, weight, -width, width, rounded)


def print_numbers(name, real, numbers):
    c_type, ending = ("float", "f") if real == "f32" else ("double", "")
    print(f"LF_CONSTANT {c_type} {name}_{real}[] = {{")
    for number in numbers:
        mantissa, exponent = float(number).hex().split("p")
        print(f"    {mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}p{exponent}{ending},")
    print("};", flush=True)


def print_table(name, real, coefficients, note):
    print(f"/* {note} */")
    print_numbers(f"{name}_coefficients", real, coefficients)


def print_parts(real, exp_degree, expm1_degree):
    """What sigmoid and tanh take where 2^(k / POWER_PARTS) is looked up, for r within half a part."""
    exact = [mpf(2) ** (mpf(k) / POWER_PARTS) for k in range(POWER_PARTS)]
    width = half_log2 / POWER_PARTS
    slope, error = rounded_fit(expm1_slope, abs, width, exp_degree - 1, real)
    note = f"2^{BIAS[real]} * exp(-r) within a part of an octave; largest relative error 2^{error:.1f}"
    print_table("sigmoid_part", real, sigmoid_scaled(real, [mpf(1), *slope]), note)
    print_fractions("sigmoid", real, [mpf(round_to(power, real)) for power in exact])

    powers = [mp.nint(power * 2 ** (TANH_DIGITS - 1)) / 2 ** (TANH_DIGITS - 1) for power in exact]
    shifts = [mp.log(power / near) / -2 for power, near in zip(exact, powers, strict=True)]
    width += 2 * max(map(abs, shifts))
    tail, error = rounded_fit(expm1_tail, lambda r: abs(r) + mpf("1e-3"), width, expm1_degree - 1, real)
    note = f"-expm1(-2r) / r within a part; largest relative error 2^{error:.1f}"
    print_table("tanh_part", real, tanh_scaled([mpf(1), mpf(1), *tail]), note)
    print_fractions("tanh", real, powers)
    print("/* What r changes by, for their powers have few digits. */")
    print_numbers("tanh_shifts", real, [mpf(round_to(shift, real)) for shift in shifts])


def print_fractions(name, real, powers):
    bits, fraction_bits = (32, 23) if real == "f32" else (64, 52)
    step = 2**fraction_bits // len(powers)
    print("/* The bits of their powers' fractions, less k in the highest. */")
    print(f"LF_CONSTANT uint{bits}_t {name}_fractions_{real}[] = {{")
    for k, power in enumerate(powers):
        print(f"    {(int((power - 1) * 2**fraction_bits) - k * step) % 2**bits:#x},")
    print("};")


def main(prefix=""):
    for name, real, function, weight, low, high, degree in TABLES:
        if not f"{name}_{real}".startswith(prefix):
            continue
        exact = minimax(function, weight, low, high, degree)
        rounded = [mpf(round_to(c, real)) for c in exact]
        error = largest_error(function, weight, low, high, rounded)
        note = f"degree {degree}; largest relative error in the result 2^{error:.1f}"
        print_table(name, real, rounded, note)
        if name == "expm1":  # the same numbers times powers of two, signs for a negated argument
            whole = [mpf(1), mpf(1), *rounded]
            print_table("sigmoid", real, sigmoid_scaled(real, whole), f"2^{BIAS[real]} * exp(-r)")
            print_table("tanh", real, tanh_scaled(whole), "-expm1(-2r) / r")
    for real, degrees in PART_DEGREES.items():
        if f"part_{real}".startswith(prefix):
            print_parts(real, *degrees)


if __name__ == "__main__":
    main(*sys.argv[1:])
