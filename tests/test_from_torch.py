"""`from_torch` beside PyTorch: every module, layout and option, and errors that say what was expected."""

from __future__ import annotations

import pickle

import numpy as np
import oracle
import pytest
from programs import run_python

import lstmfast

torch = oracle.needed("torch")
torch.set_num_threads(1)

from torch.nn.utils import prune  # noqa: E402

MODULES = {"LSTM": torch.nn.LSTM, "GRU": torch.nn.GRU, "RNN": torch.nn.RNN}
CELLS = {"LSTMCell": torch.nn.LSTMCell, "GRUCell": torch.nn.GRUCell, "RNNCell": torch.nn.RNNCell}


def made(cls, *sizes, dtype=torch.float32, seed=0, **options):
    torch.manual_seed(seed)
    return cls(*sizes, **options).to(dtype).eval()


def random_state(module, batch, dtype=torch.float32):
    """A state as the module takes it; of None a sequence without a batch."""
    places = module.num_layers * (2 if module.bidirectional else 1)
    shape = (places, module.hidden_size) if batch is None else (places, batch, module.hidden_size)
    h = torch.randn(shape, dtype=dtype)
    return (h, torch.randn_like(h)) if isinstance(module, torch.nn.LSTM) else h


def arrays(state):
    return [np.asarray(part) for part in (state if isinstance(state, tuple) else (state,))]


def assert_same(mine, theirs):
    for got, expected in zip(mine, theirs, strict=True):
        assert got.dtype == expected.dtype
        unit = 1e-9 if got.dtype == np.float64 else 1.0
        oracle.assert_close(got, expected, unit * oracle.LOOSE * (1 + np.abs(expected)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("batch_first", [False, True], ids=["time_first", "batch_first"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "bidirectional"])
@pytest.mark.parametrize("bias", [False, True], ids=["no_bias", "bias"])
@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("name", MODULES)
def test_modules(name, num_layers, bias, bidirectional, batch_first, dtype):
    dropout = 0.4 if num_layers > 1 else 0.0
    options = {"num_layers": num_layers, "bias": bias, "bidirectional": bidirectional, "batch_first": batch_first}
    module = made(MODULES[name], 5, 17, dropout=dropout, dtype=dtype, **options)
    x = torch.randn(4, 6, 5, dtype=dtype)
    state = random_state(module, 4 if batch_first else 6, dtype)
    mine = lstmfast.from_torch(module)
    with torch.no_grad():
        expected, final = module(x, state)
        alone, _ = module(x)
    output, after = mine(x, state, return_state=True)
    assert_same([output, *arrays(after)], [expected.numpy(), *arrays(final)])
    assert isinstance(after, tuple) == isinstance(final, tuple)
    assert_same([mine(x), mine.predict(x.numpy()), mine(x, return_state=True)[0]], [alone.numpy()] * 3)
    assert output.flags.c_contiguous


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("seed", range(8))
def test_random_modules(name, seed):
    random = np.random.default_rng(seed)
    features, units, layers = (int(random.integers(1, most)) for most in (40, 70, 4))
    options = {"num_layers": layers, "bidirectional": bool(random.integers(2)), "batch_first": bool(random.integers(2))}
    if name == "RNN":
        options["nonlinearity"] = ["tanh", "relu"][seed % 2]
    module = made(MODULES[name], features, units, bias=bool(random.integers(2)), seed=seed, **options)
    x = torch.randn(int(random.integers(1, 20)), int(random.integers(1, 20)), features)
    with torch.no_grad():
        expected, final = module(x)
    output, after = lstmfast.from_torch(module)(x, return_state=True)
    assert_same([output, *arrays(after)], [expected.numpy(), *arrays(final)])


@pytest.mark.parametrize("name", MODULES)
def test_a_sequence_without_a_batch(name):
    module = made(MODULES[name], 5, 7, num_layers=2, bidirectional=True)
    x, state = torch.randn(6, 5), random_state(module, None)
    with torch.no_grad():
        expected, final = module(x, state)
    output, after = lstmfast.from_torch(module)(x, state, return_state=True)
    assert_same([output, *arrays(after)], [expected.numpy(), *arrays(final)])


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_cells(name, bias, batched):
    cell = made(CELLS[name], 5, 7, bias=bias)
    mine = lstmfast.from_torch(cell)
    x = torch.randn(4, 5) if batched else torch.randn(5)
    h = torch.randn(4, 7) if batched else torch.randn(7)
    state = (h, torch.randn_like(h)) if name == "LSTMCell" else h
    with torch.no_grad():
        expected = arrays(cell(x, state))
        alone = arrays(cell(x))
    output, after = mine(x, state, return_state=True)
    assert_same([output, *arrays(after)], [expected[0], *expected])
    assert_same([mine(x)], [alone[0]])


def test_a_cell_streams():
    cell = made(torch.nn.LSTMCell, 5, 7)
    stream, state = lstmfast.from_torch(cell).stream(3), None
    for x in torch.randn(4, 3, 5):
        with torch.no_grad():
            state = cell(x, state)
        assert_same([stream.step(x.numpy())], [state[0].numpy()])


@pytest.mark.parametrize("as_numpy", [False, True])
@pytest.mark.parametrize("name", [*MODULES, *CELLS])
def test_state_dicts(name, as_numpy):
    cls = (MODULES | CELLS)[name]
    outer = torch.nn.ModuleDict({"rnn": made(cls, 5, 7), "head": torch.nn.Linear(7, 2)})
    values = outer.state_dict()
    if as_numpy:
        values = {key: value.numpy() for key, value in values.items()}
    x = torch.randn(4, 5) if name in CELLS else torch.randn(4, 6, 5)
    mine = lstmfast.from_torch(values, prefix="rnn.")
    assert np.array_equal(mine(x), lstmfast.from_torch(outer["rnn"])(x))


def test_a_state_dict_takes_what_it_does_not_hold():
    module = made(torch.nn.RNN, 5, 7, nonlinearity="relu", batch_first=True)
    x = torch.randn(4, 6, 5)
    mine = lstmfast.from_torch(module.state_dict(), nonlinearity="relu", batch_first=True)
    assert np.array_equal(mine(x), lstmfast.from_torch(module)(x))
    assert not np.array_equal(mine(x), lstmfast.from_torch(module.state_dict(), batch_first=True)(x))


def test_weight_norm_and_subclasses():
    class Mine(torch.nn.GRU):
        pass

    module = torch.nn.utils.parametrizations.weight_norm(made(Mine, 5, 7), "weight_hh_l0")
    x = torch.randn(4, 6, 5)
    with torch.no_grad():
        assert_same([lstmfast.from_torch(module)(x)], [module(x)[0].numpy()])


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", ["weight_norm", "spectral_norm", "prune"])
def test_weights_that_a_hook_computes_are_fresh(kind, training):
    """PyTorch computes them at each call: after loading, the attribute still has the values of before."""
    utils, module, other = torch.nn.utils, made(torch.nn.LSTM, 5, 7), made(torch.nn.LSTM, 5, 7, seed=1)
    for one in (module, other):
        if kind == "prune":
            prune.l1_unstructured(one, "weight_hh_l0", amount=0.4)
        else:
            getattr(utils, kind)(one, "weight_hh_l0")
    module.train(training).load_state_dict(other.state_dict())
    x = torch.randn(4, 6, 5)
    mine = lstmfast.from_torch(module)
    with torch.no_grad():
        assert_same([mine(x)], [module.eval()(x)[0].numpy()])


@pytest.mark.parametrize("cls", [torch.nn.LSTM, torch.nn.LSTMCell])
def test_what_changes_the_numbers_is_refused(cls):
    class Scaled(cls):
        def forward(self, x, state=None):
            return super().forward(2 * x, state)

    patched = made(cls, 5, 7)
    patched.forward = lambda x: x
    hooked, before = made(cls, 5, 7), made(cls, 5, 7)
    handle = hooked.register_forward_hook(lambda module, x, y: None)
    before.register_forward_pre_hook(lambda module, x: (2 * x[0],))
    for module, said in ((made(Scaled, 5, 7), "Scaled"), (patched, "forward"), (hooked, "hook"), (before, "pre-hook")):
        refused(NotImplementedError, said, "state_dict", call=lambda module=module: lstmfast.from_torch(module))
    handle.remove()
    lstmfast.from_torch(hooked)


def test_weights_are_copies():
    module = made(torch.nn.LSTM, 5, 7)
    x = torch.randn(4, 6, 5)
    mine = lstmfast.from_torch(module)
    before = mine(x)
    with torch.no_grad():
        for weight in module.parameters():
            weight.zero_()
    assert np.array_equal(mine(x), before)
    assert np.array_equal(mine(x, return_state=True)[0], before)


def test_the_model_is_keras_s(tmp_path):
    module = made(torch.nn.GRU, 5, 7, num_layers=2, bidirectional=True)  # time first
    mine = lstmfast.from_torch(module)
    x = np.random.default_rng(0).standard_normal((6, 4, 5)).astype("float32")
    path = tmp_path / "from_torch.keras"
    mine.model.save(path)
    again = lstmfast.load_model(path)
    assert np.array_equal(np.swapaxes(again.predict(np.swapaxes(x, 0, 1)), 0, 1), mine(x))


def test_same_bits_alone_in_a_stream_and_pickled():
    module = made(torch.nn.LSTM, 5, 33, num_layers=2, batch_first=True)
    mine = lstmfast.from_torch(module)
    x = np.random.default_rng(0).standard_normal((9, 6, 5)).astype("float32")
    y = mine(x)
    assert np.array_equal(mine(x[3:4])[0], y[3])
    assert np.array_equal(mine(x, return_state=True)[0], y)
    data = pickle.dumps(mine)
    assert len(data) < sum(weight.nbytes for weight in mine.model.get_weights()) + 4096
    assert np.array_equal(pickle.loads(data)(x), y)
    stream = mine.stream(9)
    assert np.array_equal(np.stack([stream.step(x[:, step]) for step in range(6)], axis=1), y)


def test_torch_is_not_imported():
    code = """
    import sys, numpy as np, lstmfast
    weights = {"weight_ih_l0": np.ones((16, 3), "f"), "weight_hh_l0": np.ones((16, 4), "f")}
    assert lstmfast.from_torch(weights)(np.zeros((5, 2, 3))).shape == (5, 2, 4)
    assert "torch" not in sys.modules and "onnx" not in sys.modules
    """
    run_python(code)


def refused(error, *said, call):
    with pytest.raises(error) as caught:
        call()
    for words in said:
        assert words in str(caught.value)


def test_projections_are_refused():
    module = made(torch.nn.LSTM, 5, 7, proj_size=3)
    refused(NotImplementedError, "proj_size=3", call=lambda: lstmfast.from_torch(module))
    refused(NotImplementedError, "projections", call=lambda: lstmfast.from_torch(module.state_dict()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused(dtype):
    module = made(torch.nn.GRU, 5, 7, dtype=dtype)
    refused(NotImplementedError, str(dtype).removeprefix("torch."), call=lambda: lstmfast.from_torch(module))


def test_other_modules_are_refused():
    refused(TypeError, "Linear", "from_onnx", call=lambda: lstmfast.from_torch(torch.nn.Linear(2, 2)))
    refused(TypeError, "int", call=lambda: lstmfast.from_torch(3))


def test_wrong_state_dicts_are_refused():
    good = {name: value.numpy() for name, value in made(torch.nn.LSTM, 5, 7, num_layers=2).state_dict().items()}

    def without(name):
        return {key: value for key, value in good.items() if key != name}

    for values, error, said in (
        ({}, ValueError, "weight_ih_l0"),
        ({f"a.lstm.{key}": value for key, value in good.items()}, ValueError, "a.lstm."),
        (without("weight_hh_l0"), ValueError, "weight_hh_l0"),
        (without("weight_hh_l1"), ValueError, "weight_hh_l1"),
        (without("bias_ih_l1"), ValueError, "bias_ih_l1"),
        ({**good, "other": np.zeros(3)}, ValueError, "other"),
        ({**good, "weight_hh_l0": good["weight_hh_l0"][:-1]}, ValueError, "(27, 7)"),
        ({**good, "weight_ih_l1": good["weight_ih_l0"]}, ValueError, "weight_ih_l1"),
        ({**good, "bias_hh_l0": good["bias_hh_l0"][:-1]}, ValueError, "bias_hh_l0"),
        ({**good, "bias_hh_l0": good["bias_hh_l0"].astype("float64")}, NotImplementedError, "several types"),
        ({**good, "bias_hh_l0": good["bias_hh_l0"].astype("int64")}, NotImplementedError, "int64"),
    ):
        refused(error, said, call=lambda values=values: lstmfast.from_torch(values))


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_state_dicts_of_computed_weights_are_refused():
    utils = torch.nn.utils
    for change, said in (
        (utils.weight_norm, "'weight_hh_l0_g'"),
        (utils.spectral_norm, "'weight_hh_l0_orig'"),
        (utils.parametrizations.weight_norm, "'parametrizations.weight_hh_l0.original0'"),
        (lambda module, name: prune.random_unstructured(module, name, 0.5), "'weight_hh_l0_mask'"),
    ):
        for cls, name in ((torch.nn.GRU, "weight_hh_l0"), (torch.nn.GRUCell, "weight_hh")):
            values = torch.nn.ModuleDict({"rnn": change(made(cls, 5, 7), name)}).state_dict()
            words = said.replace("weight_hh_l0", name)
            refused(ValueError, words, "module", call=lambda values=values: lstmfast.from_torch(values, prefix="rnn."))


@pytest.mark.parametrize("nonlinearity", ["relu", "tanh"])
@pytest.mark.parametrize("name", ["LSTM", "GRUCell"])
def test_a_nonlinearity_is_of_an_rnn(name, nonlinearity):
    values = made((MODULES | CELLS)[name], 5, 7).state_dict()
    refused(
        *(ValueError, "nonlinearity", name.removesuffix("Cell")),
        call=lambda: lstmfast.from_torch(values, nonlinearity=nonlinearity),
    )


def test_contradicting_arguments_are_refused():
    module = made(torch.nn.RNN, 5, 7)
    for options, said in (
        ({"batch_first": True}, "batch_first"),
        ({"nonlinearity": "relu"}, "nonlinearity"),
        ({"nonlinearity": "sigmoid"}, "sigmoid"),
        ({"prefix": "rnn."}, "prefix"),
    ):
        refused(ValueError, said, call=lambda options=options: lstmfast.from_torch(module, **options))
    lstmfast.from_torch(module, batch_first=False, nonlinearity="tanh")


def test_wrong_inputs_are_refused():
    mine = lstmfast.from_torch(made(torch.nn.LSTM, 5, 7, num_layers=2))
    x = np.zeros((6, 4, 5))
    h = np.zeros((2, 4, 7))
    for call, error, said in (
        (lambda: mine(np.zeros((6, 4, 6))), ValueError, "(steps, batch, 5)"),
        (lambda: mine(np.zeros(5)), ValueError, "(5,)"),
        (lambda: mine(x, h), ValueError, "pair (h_0, c_0)"),
        (lambda: mine(x, (h, h[:1])), ValueError, "Expected c_0 of shape (2, 4, 7), got (1, 4, 7)"),
        (lambda: mine(torch.nn.utils.rnn.pack_sequence([torch.zeros(3, 5)])), TypeError, "PackedSequence"),
    ):
        refused(error, said, call=call)
    bidirectional = lstmfast.from_torch(made(torch.nn.LSTM, 5, 7, bidirectional=True))
    refused(ValueError, "streamed", call=bidirectional.stream)
