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


def print_table(name, real, coefficients, note):
    c_type, ending = ("float", "f") if real == "f32" else ("double", "")
    print(f"/* {note} */")
    print(f"LF_CONSTANT {c_type} {name}_coefficients_{real}[] = {{")
    for c in coefficients:
        mantissa, exponent = float(c).hex().split("p")
        print(f"    {mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}p{exponent}{ending},")
    print("};", flush=True)


def main(prefix=""):
    for name, real, function, weight, low, high, degree in TABLES:
        if not f"{name}_{real}".startswith(prefix):
            continue
        exact = minimax(function, weight, low, high, degree)
        rounded = [mpf(round_to(c, real)) for c in exact]
        grid = [mpf(low) + (mpf(high) - mpf(low)) * k / 400 for k in range(401)]
        worst = max(abs(weight(x) * (function(x) - evaluate(rounded, x))) for x in grid)
        note = f"degree {degree}; largest relative error in the result 2^{float(mp.log(worst, 2)):.1f}"
        print_table(name, real, rounded, note)
        if name == "expm1":  # the same numbers times powers of two, signs for a negated argument
            whole = [mpf(1), mpf(1)] + rounded
            bias = 64 if real == "f32" else 512
            scaled = [mpf(2) ** bias * (-1) ** k * c for k, c in enumerate(whole)]
            print_table("sigmoid", real, scaled, f"2^{bias} * exp(-r)")
            scaled = [-((-2) ** k) * c for k, c in enumerate(whole)][1:]
            print_table("tanh", real, scaled, "-expm1(-2r) / r")


if __name__ == "__main__":
    main(*sys.argv[1:])
