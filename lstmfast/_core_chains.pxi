# Part of _core.pyx: layers one behind the other, for whole sequences (Chain) and for single steps (StepChain).

cdef enum:
    _FEW_VALUES = 1024  # so many of what the levels of a stack hand on need no memory of their own
    _FEW_AXES = 8


cdef class Stage:
    """A layer of a chain. What is not so plain that C can take it, `general` does, as every other caller has it."""

    cdef object general

    def __cinit__(self, general, *_, **__):
        self.general = general

    cdef object take(self, object x):
        return self.general(x)

    def run(self, x):
        return self.take(x)


@cython.final
cdef class DenseStage(Stage):
    cdef PackedLayer packed

    def __cinit__(self, general, PackedLayer packed not None):
        self.packed = packed

    cdef object take(self, object x):
        if not cnp.PyArray_CheckExact(x) or not 2 <= cnp.PyArray_NDIM(x) <= _FEW_AXES or cnp.PyArray_SIZE(x) == 0:
            return self.general(x)
        if not cnp.PyArray_IS_C_CONTIGUOUS(x):
            return self.general(x)
        return self.packed.apply_to_rows(x)


@cython.final
cdef class RecurrentStage(Stage):
    cdef PackedLayer packed
    cdef bint sequences, backwards, zero

    def __cinit__(self, general, PackedLayer packed not None, bint return_sequences, bint go_backwards,
                 bint zero_output_for_mask):
        self.packed = packed
        self.sequences = return_sequences
        self.backwards = go_backwards
        self.zero = zero_output_for_mask

    cdef object take(self, object x):
        cdef lf_run call
        if not _has_steps(x):
            return self.general(x)
        self.packed.take_x(&call, x)
        y = self.packed.fill(&call, x, None, None, self.sequences, False, self.backwards, self.zero, None, 0)
        self.packed.execute(&call)
        return y


cdef inline bint _has_steps(object x):
    return cnp.PyArray_CheckExact(x) and cnp.PyArray_NDIM(x) == 3 and cnp.PyArray_DIM(x, 1) > 0


@cython.final
cdef class StackStage(Stage):
    cdef tuple levels
    cdef list packed
    cdef Py_ssize_t most_rows
    cdef Py_ssize_t handed  # values of a step that levels hand on to others

    def __cinit__(self, general, levels, Py_ssize_t most_rows):
        cdef RecurrentStage level, below = None
        self.levels = tuple(levels)
        if not 0 < len(self.levels) <= LF_LEVELS_MOST:
            raise ValueError(f"expected 1 to {LF_LEVELS_MOST} levels, got {len(self.levels)}")
        self.packed = []
        for level in self.levels:
            if level is None:
                raise TypeError("expected a RecurrentStage, got None")
            if below is not None:
                if (not below.sequences or level.backwards or below.packed._units != level.packed._features
                        or below.packed.typenum != level.packed.typenum):
                    raise ValueError("a level takes all steps of the one below it, in their order")
                self.handed += below.packed._units
            self.packed.append(level.packed)
            below = level
        self.most_rows = most_rows

    cdef object take(self, object x):
        cdef lf_run calls[LF_LEVELS_MOST]
        cdef double few[_FEW_VALUES]  # what the levels hand on, where it fits
        cdef RecurrentStage level = self.levels[0]
        cdef cnp.npy_intp shape[3]
        cdef int i, count = len(self.levels)
        cdef void *free = few
        if not _has_steps(x) or cnp.PyArray_DIM(x, 0) > self.most_rows:
            return self.general(x)
        level.packed.take_x(&calls[0], x)
        shape[0] = cnp.PyArray_DIM(x, 0)
        shape[1] = cnp.PyArray_DIM(x, 1)
        shape[2] = self.handed
        if <double> shape[0] * shape[1] * shape[2] > _FEW_VALUES:
            between = _empty(3, shape, level.packed.typenum)  # of no size that NumPy could not count
            free = cnp.PyArray_DATA(between)
        for i in range(count):
            level = self.levels[i]
            if i > 0:
                memset(&calls[i], 0, sizeof(lf_run))
                calls[i].x = calls[i - 1].y
                calls[i].x_row_stride = calls[i - 1].y_row_stride
                calls[i].x_step_stride = calls[i - 1].y_step_stride
            calls[i].batch = shape[0]
            calls[i].steps = shape[1]
            calls[i].return_sequences = level.sequences
            calls[i].go_backwards = level.backwards
            calls[i].zero_output_for_mask = level.zero
            calls[i].y_step_stride = level.packed._units if level.sequences else 0
            calls[i].y_row_stride = level.packed._units * (shape[1] if level.sequences else 1)
            if i < count - 1:
                calls[i].y = free
                free = _at(free, shape[0] * calls[i].y_row_stride, level.packed.itemsize)
        shape[2 if level.sequences else 1] = level.packed._units
        y = _empty(3 if level.sequences else 2, shape, level.packed.typenum)
        calls[count - 1].y = cnp.PyArray_DATA(y)
        _run_together(self.packed, calls, count, LF_ABOVE)
        return y


@cython.final
cdef class PairStage(Stage):
    cdef RecurrentStage forward, backward
    cdef Py_ssize_t width
    cdef object find

    def __cinit__(self, general, RecurrentStage forward not None, RecurrentStage backward not None, find):
        self.forward = forward
        self.backward = backward
        self.width = forward.packed._units + backward.packed._units
        self.find = find

    cdef object take(self, object x):
        cdef RecurrentStage one = self.forward, other = self.backward
        cdef Pair pair
        if _has_steps(x):
            pair = Pair(self.width)
            y = pair.run(one.packed, x, None, None, one.sequences, False, one.backwards, one.zero, None)
            pair.run(other.packed, x, None, None, other.sequences, False, other.backwards, other.zero, None)
        else:
            found = self.find(x)
            if found is None:
                return self.general(x)
            pair = Pair(self.width)
            ids, table, other_table = found
            y = pair.run_indexed(one.packed, ids, table, None, None, one.sequences, False, one.backwards, one.zero, None)
            pair.run_indexed(other.packed, ids, other_table, None, None, other.sequences, False, other.backwards,
                             other.zero, None)
        pair.finish()
        return y


@cython.final
cdef class RepeatStage(Stage):
    cdef Py_ssize_t count

    def __cinit__(self, general, Py_ssize_t count):
        self.count = count

    cdef object take(self, object x):
        cdef cnp.npy_intp shape[3]
        cdef cnp.npy_intp strides[3]
        if not cnp.PyArray_CheckExact(x) or cnp.PyArray_NDIM(x) != 2 or not cnp.PyArray_IS_C_CONTIGUOUS(x):
            return self.general(x)
        shape[0], shape[1], shape[2] = cnp.PyArray_DIM(x, 0), self.count, cnp.PyArray_DIM(x, 1)
        strides[0], strides[1], strides[2] = cnp.PyArray_STRIDE(x, 0), 0, cnp.PyArray_ITEMSIZE(x)
        if not (cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT32 or cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT64):
            return self.general(x)
        y = cnp.PyArray_New(cnp.ndarray, 3, shape, cnp.PyArray_TYPE(x), strides, cnp.PyArray_DATA(x), 0, 0, None)
        cnp.set_array_base(y, x)
        return y


@cython.final
cdef class Chain:
    cdef tuple stages
    cdef KnownInputs known
    cdef Py_ssize_t most_rows
    cdef bint bounded

    def __cinit__(self, stages, KnownInputs known not None, Py_ssize_t most_rows, bint bounded):
        cdef Stage stage
        self.stages = tuple(stages)
        for stage in self.stages:
            if stage is None:
                raise TypeError("expected a Stage, got None")
        self.known = known
        self.most_rows = most_rows
        self.bounded = bounded

    cdef object take(self, object x):
        for stage in self.stages:
            x = (<Stage> stage).take(x)
        return x

    def run(self, x):
        return self.take(x)

    def run_known(self, x, bint bounded):
        x = self.known._ready(x, bounded or self.bounded)
        if x is None or cnp.PyArray_DIM(x, 0) > self.most_rows:
            return None
        return self.take(x)


@cython.final
cdef class Stepper:
    """One recurrent layer with a state of its own, one step a call.

    A step reads one of two states and writes the other, so that it can be undone.
    """

    cdef PackedLayer packed
    cdef lf_run call
    cdef Py_ssize_t batch
    cdef tuple states  # two of (h, c) or (h,), each (batch, units)
    cdef int current

    def __init__(self, PackedLayer packed not None, Py_ssize_t batch, int threads):
        cdef cnp.npy_intp shape[2]
        if packed.layer == NULL or packed.cell == LF_DENSE or batch < 1:
            raise ValueError(f"expected a recurrent layer and a batch of at least 1, got {packed.kind} and {batch}")
        if self.packed is not None:
            raise TypeError("a Stepper is made once")
        shape[0] = batch
        shape[1] = packed._units
        count = 2 if packed.cell == LF_LSTM else 1
        self.states = tuple([
            tuple([cnp.PyArray_ZEROS(2, shape, packed.typenum, 0) for _ in range(count)]) for _ in range(2)
        ])
        self.batch = batch
        memset(&self.call, 0, sizeof(self.call))
        self.call.batch = batch
        self.call.steps = 1
        self.call.x_row_stride = packed._features
        self.call.threads = threads
        self.packed = packed

    cdef object step(self, object x, object out):
        cdef PackedLayer packed = self.packed
        cdef lf_run call
        cdef cnp.npy_intp shape[2]
        cdef tuple before, after
        if packed is None:
            raise ValueError("this Stepper was never initialised")
        packed.check_x(x, 2)
        if cnp.PyArray_DIM(x, 0) != self.batch or not cnp.PyArray_IS_C_CONTIGUOUS(x):
            raise ValueError(f"x: expected a C-contiguous array of shape {(self.batch, packed._features)}, got {x.shape}")
        shape[0] = self.batch
        shape[1] = packed._units
        y = packed._output(out, 2, shape, (x,))
        before, after = self.states[self.current], self.states[1 - self.current]
        call = self.call
        call.x = cnp.PyArray_DATA(x)
        call.y = cnp.PyArray_DATA(y)
        call.y_row_stride = _stride(y, 0, packed.itemsize)
        call.initial_h = cnp.PyArray_DATA(before[0])
        call.final_h = cnp.PyArray_DATA(after[0])
        if packed.cell == LF_LSTM:
            call.initial_c = cnp.PyArray_DATA(before[1])
            call.final_c = cnp.PyArray_DATA(after[1])
        packed.execute(&call)
        self.current = 1 - self.current
        return y

    def __call__(self, x):
        return self.step(x, None)

    def get_state(self):
        if self.packed is None:
            raise ValueError("this Stepper was never initialised")
        return tuple([array.copy() for array in self.states[self.current]])

    def set_state(self, tuple state not None):
        cdef Py_ssize_t bytes_
        cdef const void *source[2]
        cdef int i, count
        if self.packed is None:
            raise ValueError("this Stepper was never initialised")
        own = self.states[self.current]
        count = len(own)
        if len(state) != count:
            raise ValueError(f"state: expected {count} arrays, got {len(state)}")
        for i in range(count):
            source[i] = self.packed._state(state[i], self.batch, self.packed._units, f"state[{i}]")
        bytes_ = self.batch * self.packed._units * self.packed.itemsize
        for i in range(count):
            memcpy(cnp.PyArray_DATA(own[i]), source[i], bytes_)


@cython.final
cdef class StepChain:
    """Steppers, and functions without a state, one behind the other: all of them take a step, or none does."""

    cdef tuple runs

    def __init__(self, runs):
        self.runs = tuple(runs)

    def step(self, x, out=None):
        cdef Py_ssize_t place = 0, last = len(self.runs) - 1
        cdef tuple runs = self.runs
        try:
            while place <= last:
                run = runs[place]
                if type(run) is Stepper:
                    x = (<Stepper> run).step(x, out if place == last else None)
                elif place == last and out is not None and getattr(run, "takes_out", False):
                    x = run(x, out=out)
                else:
                    x = run(x)
                place += 1
        except BaseException:
            for run in runs[:place]:
                if type(run) is Stepper:
                    (<Stepper> run).current = 1 - (<Stepper> run).current
            raise
        return x
