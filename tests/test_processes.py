"""Fork, spawn, pickling, threads and what an import brings along, each in processes of their own."""

from __future__ import annotations

import copy
import http.client
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
from textwrap import dedent

import bits
import interrupts
import numpy as np
import oracle
import pytest
from bits import assert_same_bits
from programs import run_python, run_script
from test_same_bits import stacked_model

import lstmfast
from lstmfast import _core, layers
from lstmfast._graph import flatten

FORKS = hasattr(os, "fork")

# A model and an input large enough for two threads, and a check that the caller can run again.
SETUP = """
import numpy as np, lstmfast, os, sys, threading
from lstmfast import layers
lstmfast.set_num_threads(2)
model = lstmfast.Sequential([lstmfast.Input((None, 8)), layers.LSTM(96, return_sequences=True), layers.Dense(3)])
random = np.random.default_rng(0)
model.set_weights([0.2 * random.standard_normal(weight.shape) for weight in model.get_weights()])
x = random.uniform(-1, 1, (64, 20, 8)).astype("float32")
expected = model.predict(x)
same = lambda: np.array_equal(model.predict(x), expected)
"""


def test_import_is_light():
    loaded = run_python("import sys, lstmfast; print('\\n'.join(sys.modules))").split()
    for heavy in ("h5py", "tensorflow", "keras", "tf_keras", "torch", "scipy", "pandas", "multiprocessing"):
        assert heavy not in loaded, f"`import lstmfast` imports {heavy}"


def test_predicting_imports_nothing_heavy():
    out = run_python(SETUP + "print('\\n'.join(sys.modules))").split()
    assert not {"h5py", "tensorflow", "keras", "torch"} & set(out)


def test_import_takes_little_time():
    """Beside NumPy's own import, which it needs anyway: half a second more at most, in the best of three tries."""
    code = """
    import time, numpy
    begin = time.perf_counter()
    import lstmfast
    print(time.perf_counter() - begin)
    """
    assert min(float(run_python(code)) for _ in range(3)) < 0.5


@pytest.mark.skipif(not FORKS, reason="no fork on this system")
def test_a_forked_child_computes_the_same():
    code = """
    for _ in range(3):
        child = os.fork()
        if child == 0:
            os._exit(0 if same() and same() else 3)
        assert os.waitpid(child, 0)[1] == 0
        assert same()
    print("done")
    """
    assert run_python(SETUP + dedent(code), timeout=60).strip() == "done"


@pytest.mark.skipif(not FORKS, reason="no fork on this system")
def test_fork_while_other_threads_run():
    code = """
    stop = False
    def work():
        while not stop:
            model.predict(x)
    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    statuses = []
    for _ in range(5):
        child = os.fork()
        if child == 0:
            os._exit(0 if same() else 3)
        statuses.append(os.waitpid(child, 0)[1])
    stop = True
    for worker in workers:
        worker.join()
    assert statuses == [0] * 5, statuses
    assert same()
    print("done")
    """
    assert run_python(SETUP + dedent(code), timeout=60).strip() == "done"


@pytest.mark.skipif(not FORKS, reason="no fork on this system")
def test_grandchildren_and_first_use_in_the_child():
    code = """
    child = os.fork()
    if child == 0:
        grandchild = os.fork()
        if grandchild == 0:
            os._exit(0 if same() else 3)
        os._exit(0 if os.waitpid(grandchild, 0)[1] == 0 and same() else 4)
    assert os.waitpid(child, 0)[1] == 0
    assert same()
    print("done")
    """
    assert run_python(SETUP + dedent(code), timeout=60).strip() == "done"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(method, tmp_path):
    if not FORKS and method != "spawn":
        pytest.skip("no fork on this system")
    code = """
    import multiprocessing
    def work(arguments):
        model, x = arguments
        return model.predict(x)
    if __name__ == "__main__":
        context = multiprocessing.get_context(sys.argv[1])
        with context.Pool(2) as pool:
            for result in pool.map(work, [(model, x)] * 4):
                assert np.array_equal(result, expected)
        assert same()
        print("done")
    """
    script = tmp_path / "pool.py"
    script.write_text(SETUP + dedent(code))
    assert run_script(script, method, timeout=120).strip() == "done"


OTHER_OPENMP = {
    "torch": """
def other(size):
    import torch
    torch.set_num_threads(2)
    return torch.ones(size, size) @ torch.ones(size, size)
""",
    "sklearn": """
def other(size):
    import numpy
    from sklearn.cluster import KMeans
    return KMeans(8, n_init=1, max_iter=5, random_state=0).fit(numpy.eye(size)).labels_
""",
}


@pytest.mark.parametrize("library", OTHER_OPENMP)
@pytest.mark.parametrize("other_first", [True, False])
def test_two_copies_of_openmp_in_one_process(library, other_first):
    oracle.needed(library)
    before = f"import {library}\n" if other_first else f"import lstmfast\nimport {library}\n"
    code = before + OTHER_OPENMP[library] + "other(300)\n" + SETUP + "other(400)\nprint(same())\nother(500)"
    assert run_python(code).strip() == "True"


SERVED = (
    SETUP
    + """
import hashlib
workers = [threading.Thread(target=same) for _ in range(2)]  # before the fork: gunicorn --preload imports this once
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()

def app(environ, start_response):
    body = f"{os.getpid()} {os.getppid()} {hashlib.sha256(model.predict(x).tobytes()).hexdigest()}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
)


@pytest.mark.skipif(not FORKS, reason="no fork on this system")
def test_gunicorn_with_preloading(tmp_path):
    oracle.needed("gunicorn")
    (tmp_path / "served.py").write_text(SERVED)
    address = str(tmp_path / "socket")
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", "2", "--threads", "2", "--timeout", "60"]
    log = tmp_path / "log"
    with (
        open(log, "w") as errors,
        subprocess.Popen(
            [*command, "--bind", f"unix:{address}", "--chdir", str(tmp_path), "served:app"],
            stderr=errors,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        ) as server,
    ):
        try:
            answers: list[list[str]] = []
            in_threads(4, lambda _: answers.extend(ask(address, server, log) for _ in range(15)))
            extra = 0
            while len({answer[0] for answer in answers}) < 2 and extra < 200:  # until both workers have answered
                answers.append(ask(address, server, log))
                extra += 1
        finally:
            server.terminate()
        assert server.wait(60) == 0, log.read_text()
    workers, parents, digests = map(set, zip(*answers, strict=True))
    assert len(workers) == 2
    assert parents == {str(server.pid)}
    code = SETUP + "import hashlib; print(hashlib.sha256(expected.tobytes()).hexdigest())"
    assert digests == {run_python(code).strip()}


def ask(address: str, server: subprocess.Popen, log) -> list[str]:
    """What the server at a Unix socket says, once it is up."""
    deadline = time.monotonic() + 60
    while True:
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(60)
        try:
            connection.sock.connect(address)
            connection.request("GET", "/")
            answer = connection.getresponse()
            assert answer.status == 200, log.read_text()
            return answer.read().decode().split()
        except (FileNotFoundError, ConnectionRefusedError):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        finally:
            connection.close()


# ---- Ctrl-C -----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not FORKS, reason="SIGINT cannot be sent to one process on this system")
@pytest.mark.parametrize("case", ["predict_rows", "layer_steps", "masked_steps", "convolution", "stateful"])
def test_ctrl_c_stops_long_work_and_leaves_the_model_as_it_was(case):
    """Each call takes minutes by itself; `make check-interrupts` prints how soon they end."""
    assert interrupts.latency(case, after=0.5) < 10


@pytest.mark.skipif(sys.platform == "win32", reason="needs setitimer")
def test_ctrl_c_stops_the_packing_of_weights():
    """A signal almost always comes while the core is at work here: Python has nothing else to do."""
    code = """
    import signal
    import numpy as np
    from lstmfast import _core
    weights, linear = np.ones((4096, 4096), "float32"), ("linear", 0.0, 0.0, 0.0)
    def hear(number, frame):
        raise KeyboardInterrupt
    signal.signal(signal.SIGALRM, hear)
    heard = 0
    for delay in (0.001, 0.003, 0.008):
        signal.setitimer(signal.ITIMER_REAL, delay)
        try:
            while True:
                _core.PackedLayer("dense", weights, None, None, linear, linear)
        except KeyboardInterrupt:
            heard += 1
    y = _core.PackedLayer("dense", weights, None, None, linear, linear).apply(weights[:1], None, 0)
    print(heard, (y == 4096).all())
    """
    assert run_python(code).split() == ["3", "True"]


def test_ctrl_c_is_for_the_main_thread():
    code = """
    import interrupts, signal, threading
    layer, x, _ = interrupts.layer_rows()
    x = x[:200]
    results, done = [], threading.Event()
    threading.Thread(target=lambda: (results.append(layer(x)), done.set())).start()
    try:
        threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        done.wait()
        time.sleep(60)
    except KeyboardInterrupt:
        pass
    else:
        raise AssertionError("no interrupt")
    done.wait()
    print(np.array_equal(results[0], layer(x)))
    """
    assert run_python("import os, time, numpy as np\n" + dedent(code)).strip() == "True"


def test_an_interrupted_stateful_layer_keeps_its_states():
    code = """
    import signal, numpy as np
    from lstmfast import Input, Sequential, layers
    stack = [layers.LSTM(8, stateful=True, return_sequences=True), layers.GRU(600, stateful=True)]
    model = Sequential([Input((None, 3), batch_size=4), *stack])
    model(np.ones((4, 2, 3), "float32"))
    states = lambda: [np.array(state) for layer in model.layers for state in layer.states]
    before = states()
    x = np.zeros((4, 300_000, 3), "float32")

    for call in (model, model.predict):
        signal.setitimer(signal.ITIMER_REAL, 1.0)  # when the second layer runs
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        try:
            call(x)
        except KeyboardInterrupt:
            print(all(np.array_equal(a, b) for a, b in zip(states(), before)))
    """
    assert run_python(code).split() == ["True", "True"]


def test_the_results_of_another_process_have_the_same_bits():
    code = SETUP + "import hashlib; print(hashlib.sha256(expected.tobytes()).hexdigest())"
    alone = run_python(code, environment={"LSTMFAST_NUM_THREADS": "1"})
    assert alone == run_python(code) == run_python(code, environment={"OMP_NUM_THREADS": "3"})


def test_environment_variables():
    code = "import lstmfast; from lstmfast import _core; print(lstmfast.get_num_threads(), _core.isa())"
    for isa in _core.available_isas():
        assert run_python(code, environment={"LSTMFAST_ISA": isa, "LSTMFAST_NUM_THREADS": "3"}).split() == ["3", isa]
    out = run_python(
        """
        try:
            import lstmfast
        except ImportError as error:
            print(error)
        """,
        environment={"LSTMFAST_ISA": "avx1024"},
    )
    assert "LSTMFAST_ISA" in out
    assert "avx1024" in out
    for name in _core.available_isas():
        assert name in out


@pytest.mark.parametrize("number", ["", " ", "0", "3", "+3", "3,2", " 3 \n"])
def test_numbers_of_threads_in_the_environment(number):
    code = "import warnings; warnings.simplefilter('error'); import lstmfast; print(lstmfast.get_num_threads())"
    threads = int(run_python(code, environment={"LSTMFAST_NUM_THREADS": number}))
    assert threads == 3 if "3" in number else threads >= 1


@pytest.mark.parametrize("nonsense", ["-1", "many", "2.5", "1e9", "1025", "3x", "0x3", "1_0", "9" * 5000])
def test_no_number_of_threads_in_the_environment(nonsense):
    code = """
    import warnings
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        import lstmfast
    print(lstmfast.get_num_threads(), len(caught), caught[0].category.__name__, caught[0].filename, caught[0].message)
    """
    said = run_python(code, environment={"LSTMFAST_NUM_THREADS": nonsense})
    threads, count, kind, place, message = said.split(maxsplit=4)
    assert int(threads) >= 1
    assert (count, kind) == ("1", "RuntimeWarning")
    assert place == "<string>"
    assert f"LSTMFAST_NUM_THREADS={nonsense[:40]!r} is no whole number from 1 to 1024" in message


def test_omp_num_threads_bounds_the_default():
    code = "import lstmfast; print(lstmfast.get_num_threads())"
    assert run_python(code, environment={"OMP_NUM_THREADS": "1"}).strip() == "1"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_affinity_bounds_the_default():
    code = """
    import os
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    import lstmfast
    print(lstmfast.get_num_threads())
    """
    assert run_python(code).strip() == "1"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_a_pinned_thread_is_not_the_process():
    """The first that asks how many threads there may be is pinned to one processor."""
    code = """
    import os, threading, lstmfast
    def work():
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        print(lstmfast.get_num_threads())
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    print(lstmfast.get_num_threads())
    """
    usual = run_python("import lstmfast; print(lstmfast.get_num_threads())").strip()
    assert run_python(code).split() == [usual, usual]


@pytest.mark.skipif(not FORKS or not hasattr(os, "sched_setaffinity"), reason="no fork or no affinity on this system")
def test_a_forked_child_counts_its_own_processors():
    code = """
    import os, lstmfast
    everywhere = os.sched_getaffinity(0)
    one = {min(everywhere)}
    def in_child(processors):
        child = os.fork()
        if child == 0:
            os.sched_setaffinity(0, processors)
            os._exit(lstmfast.get_num_threads())
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    usual = lstmfast.get_num_threads()
    assert in_child(one) == 1
    assert in_child(everywhere) == usual
    with lstmfast.threads(5):
        assert in_child(one) == 5
    os.sched_setaffinity(0, one)
    lstmfast.set_num_threads(None)
    assert lstmfast.get_num_threads() == 1
    assert in_child(everywhere) == usual
    """
    run_python(code)


def test_more_threads_than_processors_work():
    assert run_python(SETUP + "lstmfast.set_num_threads(16)\nprint(same())").strip() == "True"
    code = "from lstmfast import _core\n_core.assume_processors(16)\nlstmfast.set_num_threads(16)\nprint(same())"
    assert run_python(SETUP + code).strip() == "True"


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="needs /proc")
def test_threads_are_really_used():
    """The tests of thread counts would prove nothing if the core never started any."""
    code = """
    import os
    import bits
    from lstmfast import _core
    def count():
        return len(os.listdir("/proc/self/task"))
    before = count()
    _core.assume_processors(5)
    for size in %s:
        batch, steps, features, units = size
        bits.run(bits.packed("lstm", features, units), bits.sequences(batch, steps, features), threads=5)
    print(count() - before)
    """
    from test_same_bits import THREAD_SIZES

    assert int(run_python(code % THREAD_SIZES)) >= 4


# ---- copies -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_models_pickle(protocol):
    model, x = stacked_model(), bits.sequences(5, 6, 3)
    expected = model(x)
    assert_same_bits(pickle.loads(pickle.dumps(model, protocol))(x), expected)
    assert_same_bits(model(x), expected)


def test_a_pickle_holds_no_packed_weights():
    """Packing is redone on the machine that loads: a pickle of one instruction set runs on any other."""
    before = _core.isa()
    _core.select_isa(_core.available_isas()[0])
    model, x = stacked_model(), bits.sequences(5, 6, 3)
    model(x)
    text = pickle.dumps(model)
    _core.select_isa("generic")
    try:
        generic = stacked_model()(x)
        assert_same_bits(pickle.loads(text)(x), generic)
    finally:
        _core.select_isa(before)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_are_independent(duplicate):
    model, x = stacked_model(), bits.sequences(5, 6, 3)
    expected = model(x)
    twin = duplicate(model)
    assert_same_bits(twin(x), expected)
    if duplicate is not copy.copy:
        twin.set_weights([0 * weight for weight in twin.get_weights()])
        assert not np.array_equal(twin(x), expected)
        assert_same_bits(model(x), expected)


@pytest.mark.parametrize(
    "layer",
    [
        layers.LSTM(3, return_sequences=True, return_state=True, activation="relu", name="mine"),
        layers.GRU(3, reset_after=False),
        layers.SimpleRNN(4, go_backwards=True),
        layers.Dense(3, activation="softmax"),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_pickle_and_copy(layer):
    x = bits.sequences(3, 4, 2)
    expected = layer(x)
    for twin in (pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer), copy.copy(layer)):
        assert twin.get_config() == layer.get_config()
        assert_same_bits(twin(x), expected)
    fresh = type(layer).from_config(layer.get_config())
    fresh.build(x.shape)
    fresh.set_weights(layer.get_weights())
    assert_same_bits(fresh(x), expected)


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.EinsumDense("abc,cd->abd", output_shape=(None, 4)),
        lambda: layers.LSTM(3),
        layers.BatchNormalization,
        lambda: lstmfast.Sequential([layers.LSTM(3), layers.Dense(2)]),
    ],
    ids=["EinsumDense", "LSTM", "BatchNormalization", "Sequential"],
)
def test_a_copy_of_what_is_not_built_is_built_alone(make):
    layer = make()
    twin = copy.copy(layer)
    x = bits.sequences(3, 4, 2)
    twin(x)
    shapes = [weight.shape for weight in twin.get_weights()]
    layer(x)
    for own in (layer, twin):
        assert [weight.shape for weight in own.get_weights()] == shapes
        assert own(x).shape == twin(x).shape


def test_a_copy_of_a_model_grows_alone():
    model, x = stacked_model(), bits.sequences(5, 6, 3)
    expected = model(x)
    twin = copy.copy(model)
    twin.add(layers.Dense(2, name="one_more"))
    assert twin(x).shape == (5, 2)
    assert len(twin.layers) == len(model.layers) + 1
    assert_same_bits(model(x), expected)


def test_copies_leave_nothing_in_the_layers_that_they_share():
    model, x = stacked_model(), bits.sequences(5, 6, 3)
    graph = lstmfast.Model(model.inputs, [model.outputs[0], model.layers[0].output])
    for kind in (model, graph):
        calls = [len(layer.nodes) for layer in kind.layers]
        twin = copy.copy(kind)
        assert [len(layer.nodes) for layer in kind.layers] == calls
        assert twin.get_config() == kind.get_config()
        for own, other in zip(flatten(kind(x)), flatten(twin(x)), strict=True):
            assert_same_bits(own, other)
        for own, other in zip(flatten(kind(x)), flatten(pickle.loads(pickle.dumps(twin))(x)), strict=True):
            assert_same_bits(own, other)


def test_a_stateful_layer_pickles_without_a_shared_state():
    layer = layers.LSTM(3, stateful=True)
    x = bits.sequences(2, 4, 2)
    layer.build(x.shape)
    layer(x)
    twin = copy.deepcopy(layer)
    assert_same_bits(twin(x), layer(x))
    twin.reset_state()
    assert not np.array_equal(twin(x), layer(x))


# ---- threads ----------------------------------------------------------------------------------------------------


def in_threads(count: int, work) -> None:
    """Run work(number) in threads and raise what any of them raised."""
    errors: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a thread hangs"
    if errors:
        raise errors[0]


def test_many_threads_share_one_model(isa):
    model = stacked_model()
    inputs = [bits.sequences(rows, 9, 3, seed=rows) for rows in (1, 3, 17, 64)]
    expected = [model(x) for x in inputs]

    def work(number: int) -> None:
        for turn in range(12):
            place = (number + turn) % len(inputs)
            assert_same_bits(model.predict(inputs[place]), expected[place])

    in_threads(6, work)


def test_set_weights_beside_predict_is_all_or_nothing():
    model, x = stacked_model(), bits.sequences(40, 9, 3)
    first = model.get_weights()
    second = [weight[::-1].copy() for weight in first]
    known = [model(x)]
    model.set_weights(second)
    known.append(model(x))
    assert not np.array_equal(*known)
    running = True

    def work(number: int) -> None:
        nonlocal running
        if number == 0:
            try:
                for turn in range(60):
                    model.set_weights(first if turn % 2 else second)
            finally:
                running = False
            return
        seen = set()
        while running:
            y = model.predict(x)
            matches = [place for place, result in enumerate(known) if np.array_equal(y, result)]
            assert matches, "a mixture of two sets of weights"
            seen.add(matches[0])

    in_threads(4, work)


def test_streams_in_threads_keep_to_themselves():
    model, x = stacked_model(), bits.sequences(6, 12, 3)
    expected = [np.concatenate([model(x[row : row + 1, : t + 1]) for t in range(12)]) for row in range(6)]

    def work(row: int) -> None:
        stream = model.stream()
        for _ in range(5):
            stream.reset()
            steps = [np.array(stream.step(x[row : row + 1, t])) for t in range(12)]
            assert_same_bits(np.concatenate(steps), expected[row])

    in_threads(6, work)


def test_the_gil_is_released():
    """A second Python thread makes progress while one call of the core runs."""
    layer = bits.packed("lstm", 64, 256)
    x = bits.sequences(64, 1000, 64)  # some 100 ms
    ticks = []
    done = threading.Event()

    def tick() -> None:
        while not done.is_set():
            ticks.append(1)
            done.wait(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    during = []
    try:
        while len(during) < 20 and max(during, default=0) < 3:  # again where the machine had no time for the thread
            before = len(ticks)
            layer.run(x, None, None, False, False, False, False, None, 1)
            during.append(len(ticks) - before)
    finally:
        done.set()
        thread.join()
    assert during[-1] >= 3, f"the other thread ran {during} times in calls of the core"


def test_set_num_threads():
    before = lstmfast.get_num_threads()
    with lstmfast.threads(3):
        assert lstmfast.get_num_threads() == 3
        with lstmfast.threads(1):
            assert lstmfast.get_num_threads() == 1
        assert lstmfast.get_num_threads() == 3
    assert lstmfast.get_num_threads() == before
    with pytest.raises(RuntimeError), lstmfast.threads(2):
        raise RuntimeError
    assert lstmfast.get_num_threads() == before
    lstmfast.set_num_threads(5)
    assert lstmfast.get_num_threads() == 5
    lstmfast.set_num_threads(None)
    assert lstmfast.get_num_threads() >= 1


def test_threadpoolctl_sees_the_openmp_library():
    threadpoolctl = oracle.needed("threadpoolctl")
    assert any(entry["user_api"] == "openmp" for entry in threadpoolctl.threadpool_info())


def test_threadpoolctl_limits_the_default_number_of_threads():
    threadpoolctl = oracle.needed("threadpoolctl")
    with threadpoolctl.threadpool_limits(1, user_api="openmp"):
        assert lstmfast.get_num_threads() == 1
        with lstmfast.threads(3):
            assert lstmfast.get_num_threads() == 3, "a number that is asked for stands"


def test_show_config(capsys):
    lstmfast.show_config()
    text = capsys.readouterr().out
    assert lstmfast.__version__ in text
    assert _core.isa() in text


@pytest.mark.parametrize(
    "make", [lambda: layers.LSTM(4), lambda: lstmfast.Sequential([layers.LSTM(4), layers.Dense(2)])]
)
def test_threads_build_a_layer_once(make):
    x = np.ones((2, 3, 5), "float32")
    for _ in range(30):
        fresh = make()
        barrier = threading.Barrier(4)
        results: list[np.ndarray] = []

        def call(fresh=fresh, barrier=barrier, results=results) -> None:
            barrier.wait()
            results.append(fresh(x))

        workers = [threading.Thread(target=call) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert len(results) == 4
        assert all(np.array_equal(result, results[0]) for result in results)
        assert len(fresh.get_weights()) in (3, 5)
