"""What a call of one sample costs beyond its arithmetic: python -m bench.calls

Beside each call stand the core's own functions over the same values: what is left is Python, checks and bookkeeping.
Outputs of the two are compared first.
"""

from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import numpy as np

import lstmfast
from bench.timing import in_turn, seconds_of_repeat
from lstmfast import Input, Model, Sequential, layers
from lstmfast._core import PackedLayer
from lstmfast._graph import flatten

_UNITS, _STEPS, _FEATURES, _WORDS = 32, 5, 8, 50
_REPEATS = 7
Call = Callable[[], Any]


def _core(layer: layers.LSTM, x: np.ndarray, mask: Any = None, state: Any = None) -> Call:
    run, returns = layer.frozen().core.run, layer.return_state
    return lambda: run(x, mask, state, False, returns, False, False, None, 0)


def _cases() -> Iterator[tuple[str, Call, Call]]:
    random = np.random.default_rng(0)
    x = random.standard_normal((1, _STEPS, _FEATURES)).astype("float32")
    mask, out = np.ones((1, _STEPS), bool), np.empty((1, _UNITS), "float32")
    states = [random.standard_normal((1, _UNITS)).astype("float32") for _ in range(2)]

    lstm = layers.LSTM(_UNITS)
    lstm(x)
    plain = _core(lstm, x)
    yield "layer(x)", lambda: lstm(x), plain
    wide = x.astype("float64")
    yield "layer(x), of float64", lambda: lstm(wide), plain
    yield "layer(x, out=)", lambda: lstm(x, out=out), plain
    yield "layer(x, mask=)", lambda: lstm(x, mask=mask), _core(lstm, x, mask)
    yield "layer(x, initial_state=)", lambda: lstm(x, initial_state=states), _core(lstm, x, None, tuple(states))

    model = Sequential([Input((_STEPS, _FEATURES)), lstm])
    yield "model(x)", lambda: model(x), plain
    yield "model.predict(x)", lambda: model.predict(x, verbose=0), plain
    yield "model.predict(x), of float64", lambda: model.predict(wide, verbose=0), plain

    dense = layers.Dense(3, activation="softmax")
    deep = Sequential([Input((_STEPS, _FEATURES)), lstm, layers.Dropout(0.1), dense])
    deep(x)
    kernel, bias = dense.get_weights()
    apply = PackedLayer("dense", kernel, None, bias, ("softmax", 0.0, 0.0, 0.0), None).apply
    yield "LSTM, Dropout, Dense: model(x)", lambda: deep(x), lambda: apply(plain(), None, 0)

    masked = Sequential([Input((_STEPS, _FEATURES)), layers.Masking(), lstm])
    yield "Masking, LSTM: model(x)", lambda: masked(x), _core(lstm, x, mask)

    ids = random.integers(1, _WORDS, (1, _STEPS)).astype("int32")
    for options in ({}, {"mask_zero": True}):
        embedding, reader = layers.Embedding(_WORDS, _FEATURES, **options), layers.LSTM(_UNITS)
        words = Sequential([Input((_STEPS,), dtype="int32"), embedding, reader])
        words(ids)
        core = reader.frozen().core
        table, valid = core.project(embedding.embeddings), mask if options else None

        def look_up(core: Any = core, table: Any = table, valid: Any = valid) -> Any:
            return core.run_indexed(ids, table, valid, None, False, False, False, False, None, 0)

        name = "Embedding(mask_zero=True)" if options else "Embedding"
        yield f"{name}, LSTM: model(ids)", lambda words=words: words(ids), look_up

    inputs = [Input((_STEPS, _FEATURES)), Input((_UNITS,)), Input((_UNITS,))]
    decoder = layers.LSTM(_UNITS, return_state=True)
    said = Model(inputs, list(decoder(inputs[0], initial_state=inputs[1:])))
    yield (
        "a decoder of three inputs: model([x, h, c])",
        lambda: said([x, *states]),
        _core(decoder, x, None, tuple(states)),
    )


def main() -> None:
    """Command line."""
    seconds = seconds_of_repeat(__doc__)
    print(f"One row of {_STEPS} steps, {_FEATURES} features, LSTM({_UNITS}), {lstmfast.get_num_threads()} threads\n")
    print("| call | us | the core's part, us | beyond it, us |")
    print("|---|---:|---:|---:|")
    for name, call, core in _cases():
        for mine, bare in zip(flatten(call()), flatten(core()), strict=True):
            np.testing.assert_array_equal(mine, bare)
        times = in_turn([call, core], seconds, _REPEATS)
        whole, part = map(median, times)
        beyond = median(first - second for first, second in zip(*times, strict=True))
        print(f"| {name} | {whole:.2f} | {part:.2f} | {beyond:.2f} |", flush=True)


if __name__ == "__main__":
    main()
