# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The boundary to the C core: checks every buffer against what the core will touch, then calls it without the GIL.

Next: _core_inputs.pxi, _core_calls.pxi, _core_chains.pxi and _core_passes.pxi, parts of this file.
"""

cimport cython
cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from cpython.pycapsule cimport PyCapsule_New
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memcmp, memcpy, memset, strcpy

from time import perf_counter

cnp.import_array()

# A call that takes longer is cut into slices of this length, between which a signal such as Ctrl-C is heard; of up to
# twice that where shorter ones would be slower, for they read the weights for fewer rows or steps, or hold few steps: at
# the end of each the threads wait for the slowest (5 to 8 % of a large layer on two threads that others disturb).
cdef double _SLICE_SECONDS = 0.01
# A call shorter than this, by a guess of about twice its time, keeps the GIL: Python threads that hand it to each other
# for every call take longer than they gain (an LSTM(32) of one step, called on two threads: 0.8 instead of 1.1 us each,
# on four 0.7 instead of 2.5; from 4 us on, two threads gain more from running at once).
cdef double _BRIEF_SECONDS = 4e-6
# Rows, for each thread, that fill the core's tiles and caches: fewer only where there are no more, or one step of them
# takes longer than a slice.
cdef size_t _WIDE_ROWS = 192
# Slices that cut the steps are multiples of this, the steps that the core likes to project at once.
cdef size_t _STEPS = 12
# Linux gives fresh memory in pages of up to 2 MiB, and clears one when it is first written: in 0.1 ms, in a virtual
# machine in up to 10. So many rows, for each thread, may begin a page between two looks at signals.
cdef size_t _PAGE_BITS = 21
cdef size_t _PAGES = 2
# What a pass takes for a value of an array; and at most, where that begins one of those pages.
cdef double _PASS_SECONDS = 2e-9
cdef double _FRESH_SECONDS = 2e-8

cdef dict _CELLS = {
    "lstm": LF_LSTM,
    "gru": LF_GRU,
    "gru_reset_before": LF_GRU_RESET_BEFORE,
    "simple_rnn": LF_SIMPLE_RNN,
    "dense": LF_DENSE,
}
cdef dict _KINDS = {cell: kind for kind, cell in _CELLS.items()}
# Columns of a cell's weights per unit.
cdef dict _GATES = {LF_LSTM: 4, LF_GRU: 3, LF_GRU_RESET_BEFORE: 3, LF_SIMPLE_RNN: 1, LF_DENSE: 1}


# Arrays from this size on get memory that an earlier one may have had.
cdef Py_ssize_t _LARGE_BYTES = 64 << 10


cdef extern from "numpy/arrayobject.h":
    ctypedef struct PyDataMemAllocator:
        void *ctx
        void *(*malloc)(void *ctx, size_t size) noexcept
        void *(*calloc)(void *ctx, size_t count, size_t size) noexcept
        void *(*realloc)(void *ctx, void *memory, size_t size) noexcept
        void (*free)(void *ctx, void *memory, size_t size) noexcept

    ctypedef struct PyDataMem_Handler:
        char name[127]
        uint8_t version
        PyDataMemAllocator allocator

    object PyDataMem_SetHandler(object handler)


cdef void *_take(void *ctx, size_t size) noexcept:
    return lf_block_resize(NULL, max(size, <size_t> 1))


cdef void *_take_cleared(void *ctx, size_t count, size_t size) noexcept:
    cdef void *memory = NULL
    if count == 0 or size <= (<size_t> -1) // count:
        memory = _take(ctx, count * size)
    if memory != NULL:
        memset(memory, 0, count * size)
    return memory


cdef void *_take_larger(void *ctx, void *memory, size_t size) noexcept:
    return lf_block_resize(memory, max(size, <size_t> 1))


cdef void _give(void *ctx, void *memory, size_t size) noexcept:
    if memory != NULL:
        lf_block_resize(memory, 0)


cdef PyDataMem_Handler _blocks
strcpy(_blocks.name, "lstmfast")
_blocks.version = 1
_blocks.allocator = PyDataMemAllocator(NULL, _take, _take_cleared, _take_larger, _give)
cdef object _handler = PyCapsule_New(&_blocks, "mem_handler", NULL)


cdef object _empty(int ndim, cnp.npy_intp *shape, int typenum):
    """An array of its own, not cleared."""
    cdef Py_ssize_t size = 4 if typenum == cnp.NPY_FLOAT32 else 8
    cdef int axis
    for axis in range(ndim):
        size *= shape[axis]
    if size < _LARGE_BYTES:
        return cnp.PyArray_EMPTY(ndim, shape, typenum, 0)
    before = PyDataMem_SetHandler(_handler)
    try:
        return cnp.PyArray_EMPTY(ndim, shape, typenum, 0)
    finally:
        PyDataMem_SetHandler(before)


@cython.final
cdef class Blocks:
    cdef object before

    def __enter__(self):
        self.before = PyDataMem_SetHandler(_handler)

    def __exit__(self, *_):
        PyDataMem_SetHandler(self.before)


cdef int _raise(lf_status status, str what) except -1:
    if status == LF_NO_MEMORY:
        raise MemoryError(f"not enough memory for {what}")
    if status == LF_UNAVAILABLE:
        raise NotImplementedError(f"{what} is not in this build of lstmfast")
    raise ValueError(f"invalid arguments for {what}")


cdef int _activation(object description, lf_activation *result) except -1:
    name, a, b, c = description
    result.kind = lf_activation_find(name.encode())
    if result.kind < 0:
        raise ValueError(f"unknown activation {name!r}; expected one of {', '.join(activation_names())}")
    result.parameters[0] = a
    result.parameters[1] = b
    result.parameters[2] = c
    return 0


cdef int _typenum(object array) except -1:
    """float32 or float64 in native byte order and aligned, else a TypeError."""
    cdef int typenum
    if not isinstance(array, cnp.ndarray):
        raise TypeError(f"expected a NumPy array, got {type(array).__name__}")
    typenum = cnp.PyArray_TYPE(array)
    if typenum != cnp.NPY_FLOAT32 and typenum != cnp.NPY_FLOAT64:
        raise TypeError(f"expected float32 or float64, got {array.dtype}")
    if not cnp.PyArray_ISBEHAVED_RO(array):
        raise TypeError("expected an aligned array in native byte order")
    return typenum


cdef int _check_weights(object array, int typenum, tuple shape, str what) except -1:
    if _typenum(array) != typenum or not cnp.PyArray_IS_C_CONTIGUOUS(array):
        raise TypeError(f"{what}: expected a C-contiguous array of the kernel's dtype")
    if (<object> array).shape != shape:
        raise ValueError(f"{what}: expected shape {shape}, got {array.shape}")
    return 0


cdef ptrdiff_t _stride(object array, int axis, Py_ssize_t itemsize) except? -1:
    """Stride in elements; an axis of one element has none that matters."""
    cdef Py_ssize_t bytes_ = cnp.PyArray_STRIDE(array, axis)
    if cnp.PyArray_DIM(array, axis) <= 1:
        return 0
    if bytes_ % itemsize != 0:
        raise TypeError(f"stride of axis {axis} is {bytes_} bytes, not a multiple of the item size {itemsize}")
    return bytes_ // itemsize


cdef inline bint _last_axis_contiguous(object array, int axis, Py_ssize_t itemsize):
    """Also of an array without elements, to which NumPy gives strides of 0."""
    return (cnp.PyArray_DIM(array, axis) == 1 or cnp.PyArray_STRIDE(array, axis) == itemsize
            or cnp.PyArray_SIZE(array) == 0)


cdef bint _overlap(object a, object b) except -1:
    import numpy

    if not numpy.may_share_memory(a, b):
        return False
    try:
        return numpy.shares_memory(a, b, max_work=10_000)
    except getattr(numpy, "exceptions", numpy).TooHardError:
        return True


cdef int _refuse_overlap(object out, object inputs) except -1:
    for array in inputs:
        if isinstance(array, cnp.ndarray) and _overlap(out, array):
            raise ValueError("out: the array overlaps an input, or another array of `out`")
    return 0


cdef int _check_out(object out, object dtype, tuple shape) except -1:
    cdef int axis, ndim
    cdef Py_ssize_t extent
    if not isinstance(out, cnp.ndarray):
        raise TypeError(f"out: expected a NumPy array, got {type(out).__name__}")
    if out.dtype != dtype:
        raise TypeError(f"out: expected {dtype}, got {out.dtype.str if out.dtype.byteorder == '>' else out.dtype}")
    if (<object> out).shape != shape:
        raise ValueError(f"out: expected shape {shape}, got {out.shape}")
    if not cnp.PyArray_ISALIGNED(out):
        raise ValueError("out: the array is not aligned")
    if not cnp.PyArray_ISWRITEABLE(out):
        raise ValueError("out: the array is read-only")
    if cnp.PyArray_IS_C_CONTIGUOUS(out):
        return 0
    ndim = cnp.PyArray_NDIM(out)
    if not _last_axis_contiguous(out, ndim - 1, cnp.PyArray_ITEMSIZE(out)):
        raise ValueError("out: expected a contiguous last axis")
    extent = cnp.PyArray_DIM(out, ndim - 1) * cnp.PyArray_ITEMSIZE(out)
    axes = [axis for axis in range(ndim - 1) if cnp.PyArray_DIM(out, axis) > 1]
    for axis in sorted(axes, key=out.strides.__getitem__):
        if cnp.PyArray_STRIDE(out, axis) < extent:
            raise ValueError(f"out: its elements overlap or run backwards; strides {out.strides}")
        extent = cnp.PyArray_DIM(out, axis) * cnp.PyArray_STRIDE(out, axis)
    return 0


def check_out(out, dtype, tuple shape, inputs):
    _check_out(out, dtype, shape)
    _refuse_overlap(out, inputs)


cdef object _output(int typenum, object out, int ndim, cnp.npy_intp *shape, object inputs):
    """A fresh array, or `out` if it can be written to without changing an input."""
    cdef int i
    if out is None:
        return _empty(ndim, shape, typenum)
    _check_out(out, cnp.PyArray_DescrFromType(typenum), tuple([shape[i] for i in range(ndim)]))
    _refuse_overlap(out, inputs)
    return out


cdef bint _hears_signals():
    """Whether signals are waiting for this thread to look at them."""
    import threading

    return threading.get_ident() == threading.main_thread().ident


cdef inline void *_at(const void *base, ptrdiff_t index, Py_ssize_t itemsize) noexcept nogil:
    return <void *> (<char *> base + index * itemsize)


cdef inline size_t _places(const lf_run *call) noexcept nogil:
    """How many rows of the layer a row of the call is: the places of its grid."""
    if call.convolution == NULL:
        return 1
    return call.convolution.places[0] * call.convolution.places[1] * call.convolution.places[2]


cdef int _windows(object description, object sizes, Py_ssize_t channels, lf_windows *result) except -1:
    """A grid of these sizes as the core sees it: (window, strides, dilation, before), for each axis."""
    cdef int axis, first = LF_AXES - len(sizes)
    window, strides, dilation, before = description
    result.channels = channels
    for axis in range(LF_AXES):
        result.size[axis] = result.extent[axis] = result.stride[axis] = result.dilation[axis] = 1
        result.before[axis] = 0
        if axis >= first:
            result.size[axis] = sizes[axis - first]
            result.extent[axis] = window[axis - first]
            result.stride[axis] = strides[axis - first]
            result.dilation[axis] = dilation[axis - first]
            result.before[axis] = before[axis - first]
    return 0


cdef inline bint _is_valid(const lf_run *call, size_t row, size_t step) noexcept nogil:
    """Whether a row's step, in processing order, is not masked."""
    cdef size_t time = call.steps - 1 - step if call.go_backwards else step
    return call.mask[<ptrdiff_t> row * call.mask_row_stride + <ptrdiff_t> time * call.mask_step_stride] != 0


cdef bint _is_mostly_masked(const lf_run *call, size_t row, size_t rows, size_t step, size_t count) noexcept nogil:
    cdef size_t i, j, valid = 0
    if call.mask == NULL:
        return False
    for i in range(row, row + rows):
        for j in range(step, step + count):
            valid += _is_valid(call, i, j)
    return 2 * valid < rows * count


cdef bint _indices_fit(const lf_run *call) noexcept nogil:
    cdef size_t row, step
    cdef const int32_t *index
    for row in range(call.batch):
        index = call.indices + <ptrdiff_t> row * call.index_row_stride
        for step in range(call.steps):
            if index[0] < 0 or <size_t> index[0] >= call.table_rows:
                return False
            index += call.index_step_stride
    return True


cdef extern from "Python.h":
    int _check_signals "PyErr_CheckSignals" () noexcept  # without Cython's look at the exception


cdef int _interrupted() noexcept nogil:
    """Whether a signal's handler raised; its exception waits with this thread for _raise_what_waits."""
    with gil:
        return _check_signals() < 0


cdef int _raise_what_waits() except -1:
    return -1


include "_core_inputs.pxi"


@cython.final
cdef class PackedLayer:
    cdef lf_layer *layer
    cdef lf_cell cell
    cdef Py_ssize_t _features
    cdef Py_ssize_t _units
    cdef int typenum
    cdef Py_ssize_t itemsize
    cdef str _isa
    cdef double _row_step_seconds  # a guess
    cdef double _seen_seconds  # the same as the last long call took, of all threads together

    def __cinit__(self):
        self.layer = NULL

    def __init__(self, str kind, kernel, recurrent_kernel, bias, activation, recurrent_activation):
        cdef lf_layer_config config
        cdef lf_status status
        memset(&config, 0, sizeof(config))
        if self.layer != NULL:
            raise TypeError("a PackedLayer is immutable")
        if kind not in _CELLS:
            raise ValueError(f"unknown kind {kind!r}; expected one of {', '.join(_CELLS)}")
        self.cell = _CELLS[kind]
        self.typenum = _typenum(kernel)
        self.itemsize = 4 if self.typenum == cnp.NPY_FLOAT32 else 8
        gates = _GATES[self.cell]
        if cnp.PyArray_NDIM(kernel) != 2 or 0 in kernel.shape or kernel.shape[1] % gates:
            raise ValueError(f"kernel: expected shape (features, {gates} * units), got {kernel.shape}")
        self._features = kernel.shape[0]
        self._units = kernel.shape[1] // gates
        columns = gates * self._units
        _check_weights(kernel, self.typenum, (self._features, columns), "kernel")
        config.cell = self.cell
        config.real = LF_F32 if self.typenum == cnp.NPY_FLOAT32 else LF_F64
        config.features = self._features
        config.units = self._units
        config.kernel = cnp.PyArray_DATA(kernel)
        if self.cell == LF_DENSE:
            if recurrent_kernel is not None:
                raise ValueError("recurrent_kernel: a dense layer has none")
        elif self.cell != LF_LSTM or recurrent_kernel is not None:
            _check_weights(recurrent_kernel, self.typenum, (self._units, columns), "recurrent_kernel")
            config.recurrent_kernel = cnp.PyArray_DATA(recurrent_kernel)
        if bias is not None:
            shape = (2, columns) if self.cell == LF_GRU else (columns,)
            _check_weights(bias, self.typenum, shape, "bias")
            config.bias = cnp.PyArray_DATA(bias)
        _activation(activation, &config.activation)
        if gates > 1:
            _activation(recurrent_activation, &config.recurrent_activation)
        self._isa = lf_isa().decode()
        self._row_step_seconds = self._guess(gates, columns)
        self._seen_seconds = float("inf")
        if _hears_signals():
            config.interrupted = _interrupted
        with nogil:
            status = lf_layer_create(&config, &self.layer)
        if status == LF_INTERRUPTED:
            _raise_what_waits()
        if status != LF_OK:
            _raise(status, f"a {kind} layer of {self._units} units")

    cdef double _guess(self, Py_ssize_t gates, Py_ssize_t columns):
        """About the time that one step of one row takes on one thread, rather too much than too little."""
        cdef double lanes = 4.0 * {"avx512": 16, "avx2": 8}.get(self._isa, 4) / self.itemsize
        cdef double inputs = self._features + (0 if self.cell == LF_DENSE else self._units)
        return columns * (inputs + 50) * 0.5e-9 / lanes

    def __dealloc__(self):
        lf_layer_destroy(self.layer)

    # ---- running, in slices where it takes long

    cdef double _seconds(self, const lf_run *call) noexcept nogil:
        return self._row_step_seconds * _places(call) * call.batch * call.steps

    cdef bint is_long(self, const lf_run *call):
        return self._seconds(call) > _SLICE_SECONDS and _hears_signals()

    cdef size_t _width(self, const lf_run *call) noexcept nogil:
        """Values of a row of its outputs, and of each state."""
        return self._units * _places(call)

    cdef int execute(self, lf_run *call) except -1:
        """Run a call whose buffers are checked."""
        cdef lf_status status
        if self.is_long(call):
            return self._execute_in_slices(call)
        if self._seconds(call) < _BRIEF_SECONDS:
            return self._finish(lf_layer_run(self.layer, call), call)
        with nogil:
            status = lf_layer_run(self.layer, call)
        return self._finish(status, call)

    cdef int _finish(self, lf_status status, const lf_run *call) except -1:
        if status == LF_INVALID and call.table != NULL:
            raise ValueError(f"indices: expected numbers from 0 to {call.table_rows - 1}")
        if status != LF_OK:
            _raise(status, "this call")
        return 0

    cdef int _execute_in_slices(self, lf_run *call) except -1:
        cdef size_t places = max(_places(call), <size_t> 1)
        cdef double pace = min(4 * self._row_step_seconds, 2 * self._seen_seconds / lf_threads()) * places
        cdef size_t row = 0, rows
        cdef bint fits = True
        if call.table != NULL:
            with nogil:
                fits = _indices_fit(call)
        if not fits:
            return self._finish(LF_INVALID, call)
        while row < call.batch:
            rows = self._rows_of_slice(call, call.batch - row, pace)
            self._execute_rows(call, row, rows, &pace)
            row += rows
        self._seen_seconds = pace / places * lf_threads()
        return 0

    cdef size_t _rows_of_slice(self, const lf_run *call, size_t left, double pace) noexcept:
        """How many rows to take next: all steps of some, or, where those were too few, some steps of more."""
        cdef size_t places = max(_places(call), <size_t> 1), wide = _WIDE_ROWS * lf_threads() // places + 1
        cdef double rows = _SLICE_SECONDS / (pace * call.steps)
        if rows < wide:
            rows = min(<double> wide, 2 * _SLICE_SECONDS / pace)
        if rows >= left:
            return left
        rows = max(rows, 16.0 / places, 1.0)
        return min(left, <size_t> (left / (left // <size_t> rows + 1.0) + 1))

    cdef int _execute_rows(self, lf_run *call, size_t row, size_t rows, double *pace) except -1:
        """Some rows of a call, slice by slice through their steps; the state goes from slice to slice."""
        cdef lf_run part = self._rows_of(call, row, rows), some
        cdef void *final_h = part.final_h
        cdef void *final_c = part.final_c
        cdef lf_status status
        cdef size_t step = 0, count, first, done, pages
        cdef double begin, measured, long_step = 0.1 * _SLICE_SECONDS
        cdef bint repeats_outputs = call.mask != NULL and not call.zero_output_for_mask and self.cell != LF_DENSE
        h = c = y = before = None
        while step < call.steps:
            count = call.steps - step
            if self.cell != LF_DENSE and pace[0] * rows * count > 1.5 * _SLICE_SECONDS:
                count = max(<size_t> 1, <size_t> (_SLICE_SECONDS / (pace[0] * rows)))
                if pace[0] * rows > long_step:
                    count = max(count, min(<size_t> (2 * _SLICE_SECONDS / (pace[0] * rows)), call.steps - step))
                elif count > _STEPS:
                    count -= count % _STEPS
                elif pace[0] * rows * _STEPS < 2 * _SLICE_SECONDS:
                    count = min(_STEPS, call.steps - step)
                if part.final_h == NULL:
                    h = self._scratch(call, rows)
                    part.final_h = cnp.PyArray_DATA(h)
                if part.final_c == NULL and self.cell == LF_LSTM:
                    c = self._scratch(call, rows)
                    part.final_c = cnp.PyArray_DATA(c)
            if call.convolution != NULL and self.cell != LF_DENSE:
                # Every place reads the state of others, so that it can not be updated in place.
                before = h, c
                part.final_h = final_h
                part.final_c = final_c
                if step + count < call.steps:
                    h, c = self._scratch(call, rows), self._scratch(call, rows)
                    part.final_h = cnp.PyArray_DATA(h)
                    part.final_c = cnp.PyArray_DATA(c)
            first = call.steps - step - count if call.go_backwards else step
            part.steps = count
            self._place_inputs(&part, call, row, first)
            if call.return_sequences:
                part.y = _at(call.y, <ptrdiff_t> row * call.y_row_stride + <ptrdiff_t> step * call.y_step_stride,
                             self.itemsize)
            elif repeats_outputs and step > 0:
                y = self._scratch(call, rows)
                part.y = cnp.PyArray_DATA(y)
                part.y_row_stride = self._width(call)
            begin = perf_counter()
            pages = self._pages_of_piece(&part, step == 0)
            done = 0
            while done < rows:
                some = self._rows_of(&part, done, self._rows_of_piece(&part, step == 0, done, pages))
                if call.convolution != NULL and pace[0] * some.batch * count > 2 * _SLICE_SECONDS:
                    self._execute_places(&some, pace[0])
                else:
                    with nogil:
                        status = lf_layer_run(self.layer, &some)
                    self._finish(status, call)
                if repeats_outputs and step > 0:
                    with nogil:
                        self._repeat_outputs(call, &some, row + done, step)
                done += some.batch
                PyErr_CheckSignals()
            measured = max((perf_counter() - begin) / (<double> rows * count), 1e-12)
            # Masked steps are many times as fast: a slice of them does not say how long the next one may be.
            pace[0] = max(measured, pace[0]) if _is_mostly_masked(call, row, rows, step, count) else measured
            part.initial_h = part.final_h
            part.initial_c = part.final_c
            step += count
        return 0

    cdef int _execute_places(self, const lf_run *step, double pace) except -1:
        """One step over grids, of which not even one sample fits a slice: some places at a time."""
        cdef lf_convolution convolution = step.convolution[0]
        cdef lf_run part = step[0]
        cdef lf_status status
        cdef size_t rows = step.batch * _places(step)
        cdef size_t at_once = <size_t> (_SLICE_SECONDS * _places(step) / pace) + 16
        part.convolution = &convolution
        while convolution.first < rows:
            convolution.rows = min(at_once, rows - convolution.first)
            with nogil:
                status = lf_layer_run(self.layer, &part)
            self._finish(status, &part)
            convolution.first += convolution.rows
            PyErr_CheckSignals()
        return 0

    cdef bint _begins_page(self, const lf_run *part, bint first, size_t row) noexcept:
        """Whether a row of a slice writes outputs into a page that no earlier step has written."""
        cdef ptrdiff_t width = <ptrdiff_t> part.steps * part.y_step_stride
        cdef size_t end
        if first and part.y_row_stride * self.itemsize >> _PAGE_BITS:
            return True
        end = <size_t> _at(part.y, <ptrdiff_t> row * part.y_row_stride + width, self.itemsize) - 1
        return end >> _PAGE_BITS != (end - width * self.itemsize) >> _PAGE_BITS

    cdef size_t _pages_of_piece(self, const lf_run *part, bint first) noexcept:
        """How many rows of a piece of this slice may begin a page: all, or as many in each of several pieces."""
        cdef size_t row, count = 0, most = _PAGES * lf_threads(), pieces
        if part.return_sequences:
            for row in range(part.batch):
                count += self._begins_page(part, first, row)
        pieces = max(<size_t> 1, (count + most - 1) // most)
        return (count + pieces - 1) // pieces

    cdef size_t _rows_of_piece(self, const lf_run *part, bint first, size_t row, size_t pages) noexcept:
        """From `row` on, as many rows as begin no more pages than that."""
        cdef size_t end = row, count = 0
        if not part.return_sequences:
            return part.batch - row
        while end < part.batch:
            count += self._begins_page(part, first, end)
            if count > pages and end > row:
                break
            end += 1
        return end - row

    def pieces(self, object y, Py_ssize_t first_step, Py_ssize_t steps):
        """The rows of each piece of a slice of a call whose outputs y (batch, steps, units) are."""
        cdef lf_run part
        cdef size_t row = 0, count, pages
        if not isinstance(y, cnp.ndarray) or cnp.PyArray_TYPE(y) != self.typenum or y.ndim != 3:
            raise TypeError(f"y: expected an array of {self.dtype} with 3 dimensions")
        if first_step < 0 or steps < 1 or steps > y.shape[1] - first_step or y.shape[2] != self._units:
            raise ValueError(f"y: expected (batch, steps, {self._units}) and steps of it, got {y.shape}")
        memset(&part, 0, sizeof(part))
        part.return_sequences = True
        part.batch = y.shape[0]
        part.steps = steps
        part.y_row_stride = _stride(y, 0, self.itemsize)
        part.y_step_stride = _stride(y, 1, self.itemsize)
        part.y = _at(cnp.PyArray_DATA(y), <ptrdiff_t> first_step * part.y_step_stride, self.itemsize)
        pages = self._pages_of_piece(&part, first_step == 0)
        rows = []
        while row < part.batch:
            count = self._rows_of_piece(&part, first_step == 0, row, pages)
            rows.append(count)
            row += count
        return rows

    cdef lf_run _rows_of(self, const lf_run *part, size_t row, size_t rows) noexcept:
        """Some rows of a slice."""
        cdef lf_run some = part[0]
        cdef ptrdiff_t i = row, states = row * self._width(part)
        some.batch = rows
        some.y = _at(part.y, i * part.y_row_stride, self.itemsize)
        self._place_inputs(&some, part, row, 0)
        if part.initial_h != NULL:
            some.initial_h = _at(part.initial_h, states, self.itemsize)
        if part.initial_c != NULL:
            some.initial_c = _at(part.initial_c, states, self.itemsize)
        if part.final_h != NULL:
            some.final_h = _at(part.final_h, states, self.itemsize)
        if part.final_c != NULL:
            some.final_c = _at(part.final_c, states, self.itemsize)
        return some

    cdef object _scratch(self, const lf_run *call, size_t rows):
        cdef cnp.npy_intp shape[2]
        shape[0] = rows
        shape[1] = self._width(call)
        return _empty(2, shape, self.typenum)

    cdef void _place_inputs(self, lf_run *part, const lf_run *call, size_t row, size_t step) noexcept:
        """Let a part of a call read from this row and this step on."""
        cdef ptrdiff_t i = row, j = step
        if call.x != NULL:
            part.x = _at(call.x, i * call.x_row_stride + j * call.x_step_stride, self.itemsize)
        if call.mask != NULL:
            part.mask = call.mask + i * call.mask_row_stride + j * call.mask_step_stride
        if call.indices != NULL:
            part.indices = call.indices + i * call.index_row_stride + j * call.index_step_stride

    cdef void _repeat_outputs(self, const lf_run *call, const lf_run *part, size_t row, size_t step) noexcept nogil:
        """After a slice that begins at `step`: its masked rows repeat what came before it, which the core cannot see."""
        cdef size_t i, k
        cdef size_t bytes_ = self._width(call) * self.itemsize
        cdef char *y
        for i in range(part.batch):
            k = 0
            while k < part.steps and not _is_valid(call, row + i, step + k):
                k += 1
            if call.return_sequences:
                y = <char *> _at(part.y, <ptrdiff_t> i * part.y_row_stride, self.itemsize)
                while k > 0:
                    k -= 1
                    memcpy(_at(y, <ptrdiff_t> k * part.y_step_stride, self.itemsize),
                           _at(y, -part.y_step_stride, self.itemsize), bytes_)
            elif k < part.steps:
                memcpy(_at(call.y, <ptrdiff_t> (row + i) * call.y_row_stride, self.itemsize),
                       _at(part.y, <ptrdiff_t> i * part.y_row_stride, self.itemsize), bytes_)

    @property
    def kind(self):
        return _KINDS[self.cell]

    @property
    def features(self):
        return self._features

    @property
    def units(self):
        return self._units

    @property
    def dtype(self):
        return cnp.PyArray_DescrFromType(self.typenum)

    @property
    def isa(self):
        return self._isa

    cdef int check_x(self, object x, int ndim) except -1:
        if self.layer == NULL:
            raise ValueError("this PackedLayer was never initialised")
        if _typenum(x) != self.typenum:
            raise TypeError(f"x: expected {self.dtype}, got {x.dtype}")
        if cnp.PyArray_NDIM(x) != ndim:
            raise ValueError(f"x: expected ndim={ndim}, got shape {x.shape}")
        if cnp.PyArray_DIM(x, ndim - 1) != self._features:
            raise ValueError(f"x: expected {self._features} features in the last axis, got shape {x.shape}")
        if not _last_axis_contiguous(x, ndim - 1, self.itemsize):
            raise TypeError("x: expected a contiguous last axis")
        return 0

    cdef object _output(self, object out, int ndim, cnp.npy_intp *shape, object inputs):
        return _output(self.typenum, out, ndim, shape, inputs)

    cdef object _final(self, object out, cnp.npy_intp *shape, tuple inputs):
        if out is not None and isinstance(out, cnp.ndarray) and not cnp.PyArray_IS_C_CONTIGUOUS(out):
            raise ValueError("out: expected C-contiguous states")
        return self._output(out, 2, shape, inputs)

    cdef const void *_state(self, object state, Py_ssize_t batch, Py_ssize_t width, str what) except NULL:
        if _typenum(state) != self.typenum or not cnp.PyArray_IS_C_CONTIGUOUS(state):
            raise TypeError(f"{what}: expected a C-contiguous array of {self.dtype}")
        if (cnp.PyArray_NDIM(state) != 2 or cnp.PyArray_DIM(state, 0) != batch
                or cnp.PyArray_DIM(state, 1) != width):
            raise ValueError(f"{what}: expected shape {(batch, width)}, got {state.shape}")
        return cnp.PyArray_DATA(state)

    def run(self, x, mask, tuple initial_state, bint return_sequences, bint return_state, bint go_backwards,
            bint zero_output_for_mask, out, int threads):
        cdef lf_run call
        self.take_x(&call, x)
        result = self.fill(&call, x, mask, initial_state, return_sequences, return_state, go_backwards,
                           zero_output_for_mask, out, threads)
        self.execute(&call)
        return result

    cdef int take_x(self, lf_run *call, object x) except -1:
        if self.cell == LF_DENSE:
            raise ValueError("a dense layer has no steps: use apply")
        self.check_x(x, 3)
        memset(call, 0, sizeof(lf_run))
        call.x = cnp.PyArray_DATA(x)
        call.x_row_stride = _stride(x, 0, self.itemsize)
        call.x_step_stride = _stride(x, 1, self.itemsize)
        return 0

    def run_indexed(self, indices, table, mask, tuple initial_state, bint return_sequences, bint return_state,
                    bint go_backwards, bint zero_output_for_mask, out, int threads):
        cdef lf_run call
        self.take_indices(&call, indices, table)
        result = self.fill(&call, indices, mask, initial_state, return_sequences, return_state, go_backwards,
                           zero_output_for_mask, out, threads)
        self.execute(&call)
        return result

    cdef int take_indices(self, lf_run *call, object indices, object table) except -1:
        cdef Py_ssize_t width = self._projection_width()
        if not isinstance(indices, cnp.ndarray) or cnp.PyArray_TYPE(indices) != cnp.NPY_INT32:
            raise TypeError("indices: expected an array of int32")
        if cnp.PyArray_NDIM(indices) != 2 or not cnp.PyArray_ISBEHAVED_RO(indices):
            raise ValueError(f"indices: expected aligned native (batch, steps), got shape {indices.shape}")
        if _typenum(table) != self.typenum or not cnp.PyArray_IS_C_CONTIGUOUS(table):
            raise TypeError(f"table: expected a C-contiguous array of {self.dtype}")
        if cnp.PyArray_NDIM(table) != 2 or cnp.PyArray_DIM(table, 1) != width:
            raise ValueError(f"table: expected shape (rows, {width}) as project gives it, got {table.shape}")
        if cnp.PyArray_DIM(table, 0) == 0:
            raise ValueError(f"table: expected at least one row, got shape {table.shape}")
        memset(call, 0, sizeof(lf_run))
        call.table = cnp.PyArray_DATA(table)
        call.table_rows = cnp.PyArray_DIM(table, 0)
        call.indices = <const int32_t *> cnp.PyArray_DATA(indices)
        call.index_row_stride = _stride(indices, 0, 4)
        call.index_step_stride = _stride(indices, 1, 4)
        return 0

    cdef object fill(self, lf_run *call, object x, object mask, tuple initial_state, bint return_sequences,
                     bint return_state, bint go_backwards, bint zero_output_for_mask, object out, int threads,
                     Pair joint=None):
        """The part that all inputs share; x is (batch, steps, ...). Returns what the call is going to fill.

        The call points into the arrays of `initial_state`, a tuple, so that they live as long as it does.
        """
        cdef int ndim = 3 if return_sequences else 2
        cdef cnp.npy_intp shape[3]
        cdef Py_ssize_t width = self._width(call)
        cdef bint has_cell = self.cell == LF_LSTM
        whole = out
        call.return_sequences = return_sequences
        call.go_backwards = go_backwards
        call.zero_output_for_mask = zero_output_for_mask
        call.threads = threads
        call.batch = cnp.PyArray_DIM(x, 0)
        call.steps = cnp.PyArray_DIM(x, 1)
        if call.steps == 0:
            raise ValueError(f"x: expected at least one step, got shape {x.shape}")
        if mask is not None:
            if not isinstance(mask, cnp.ndarray) or cnp.PyArray_TYPE(mask) not in (cnp.NPY_BOOL, cnp.NPY_UINT8):
                raise TypeError("mask: expected an array of bool or uint8")
            if mask.shape != x.shape[:2]:
                raise ValueError(f"mask: expected shape {x.shape[:2]}, got {mask.shape}")
            call.mask = <const uint8_t *> cnp.PyArray_DATA(mask)
            call.mask_row_stride = _stride(mask, 0, 1)
            call.mask_step_stride = _stride(mask, 1, 1)
        if initial_state is not None:
            if len(initial_state) != 1 + has_cell:
                raise ValueError(f"initial_state: expected {1 + has_cell} arrays, got {len(initial_state)}")
            call.initial_h = self._state(initial_state[0], call.batch, width, "initial_state[0]")
            if has_cell:
                call.initial_c = self._state(initial_state[1], call.batch, width, "initial_state[1]")
        inputs = () if out is None else (x, mask, *(initial_state or ()))
        out_h = out_c = None
        if isinstance(out, tuple):
            if not return_state or len(out) != 2 + has_cell:
                raise ValueError(f"out: expected {(2 + has_cell) if return_state else 1} arrays, got {len(out)}")
            out, out_h = out[0], out[1]
            out_c = (<tuple> whole)[2] if has_cell else None
        shape[0] = call.batch
        shape[1] = call.steps
        shape[ndim - 1] = width
        if joint is None:
            y = self._output(out, ndim, shape, inputs)
            call.y = cnp.PyArray_DATA(y)
            call.y_row_stride = _stride(y, 0, self.itemsize)
            call.y_step_stride = _stride(y, 1, self.itemsize) if return_sequences else 0
        else:
            y = joint.half(call, self, ndim, shape, (x, mask, *(initial_state or ())))
        h = c = None
        if return_state:
            shape[1] = width
            h = self._final(out_h, shape, (*inputs, out))
            call.final_h = cnp.PyArray_DATA(h)
            if has_cell:
                c = self._final(out_c, shape, (*inputs, out, out_h))
                call.final_c = cnp.PyArray_DATA(c)
        if not return_state:
            return y
        return (y, h, c) if has_cell else (y, h)

    def convolve(self, x, tuple places, tuple of_x, of_h, mask, tuple initial_state, bint return_sequences,
                 bint return_state, bint go_backwards, bint zero_output_for_mask, int threads):
        cdef lf_run call
        cdef lf_convolution convolution
        cdef int axis, rank = len(places), first = LF_AXES - rank
        cdef bint has_state = self.cell == LF_LSTM
        if self.layer == NULL:
            raise ValueError("this PackedLayer was never initialised")
        if not has_state and self.cell != LF_DENSE:
            raise ValueError(f"a {self.kind} layer has no convolution")
        if _typenum(x) != self.typenum:
            raise TypeError(f"x: expected {self.dtype}, got {x.dtype}")
        if not 1 <= rank <= LF_AXES or cnp.PyArray_NDIM(x) != rank + 3:
            raise ValueError(f"x: expected (batch, steps, {rank} axes, channels), got shape {x.shape}")
        memset(&call, 0, sizeof(call))
        memset(&convolution, 0, sizeof(convolution))
        _windows(of_x, x.shape[2 : 2 + rank], cnp.PyArray_DIM(x, 2 + rank), &convolution.x)
        if has_state:
            _windows(of_h, places, self._units, &convolution.h)
        for axis in range(LF_AXES):
            convolution.places[axis] = places[axis - first] if axis >= first else 1
            convolution.x.axis_stride[axis] = _stride(x, 2 + axis - first, self.itemsize) if axis >= first else 0
        convolution.x.channel_stride = _stride(x, 2 + rank, self.itemsize)
        if convolution.x.channels == 1:
            convolution.x.channel_stride = 1
        call.convolution = &convolution
        call.x = cnp.PyArray_DATA(x)
        call.x_row_stride = _stride(x, 0, self.itemsize)
        call.x_step_stride = _stride(x, 1, self.itemsize)
        if initial_state is not None:
            shape = (x.shape[0], *places, self._units)
            for state in initial_state:
                if state.shape != shape:
                    raise ValueError(f"initial_state: expected shape {shape}, got {state.shape}")
            initial_state = tuple([state.reshape(x.shape[0], self._width(&call)) for state in initial_state])
        result = self.fill(&call, x, mask, initial_state, return_sequences and has_state, return_state and has_state,
                           go_backwards, zero_output_for_mask, None, threads)
        self.execute(&call)
        if not call.final_h:
            return self._over_places(result, places)
        return tuple([self._over_places(array, places) for array in result])

    cdef object _over_places(self, object array, tuple places):
        return array.reshape(*array.shape[: array.ndim - 1], *places, self._units)

    cdef Py_ssize_t _projection_width(self) except -1:
        if self.layer == NULL or lf_projection_width(self.layer) == 0:
            raise ValueError(f"a {self.kind} layer can not start from a projection")
        return lf_projection_width(self.layer)

    def project(self, x):
        cdef lf_status status
        cdef const void *source
        cdef void *target
        cdef ptrdiff_t stride
        cdef size_t row = 0, rows, count
        cdef cnp.npy_intp shape[2]
        shape[1] = self._projection_width()
        self.check_x(x, 2)
        shape[0] = rows = cnp.PyArray_DIM(x, 0)
        table = cnp.PyArray_ZEROS(2, shape, self.typenum, 0)
        stride = _stride(x, 0, self.itemsize)
        while row < rows:
            count = min(rows - row, <size_t> (_SLICE_SECONDS / self._row_step_seconds) + 16)
            source = _at(cnp.PyArray_DATA(x), <ptrdiff_t> row * stride, self.itemsize)
            target = _at(cnp.PyArray_DATA(table), <ptrdiff_t> row * shape[1], self.itemsize)
            with nogil:
                status = lf_layer_project(self.layer, source, stride, count, target)
            if status != LF_OK:
                _raise(status, "this projection")
            row += count
            PyErr_CheckSignals()
        return table

    def apply(self, x, out, int threads):
        cdef cnp.npy_intp shape[2]
        self.check_x(x, 2)
        shape[0] = cnp.PyArray_DIM(x, 0)
        shape[1] = self._units
        y = self._output(out, 2, shape, (x,))
        self._apply(x, y, shape[0], _stride(x, 0, self.itemsize), _stride(y, 0, self.itemsize), threads)
        return y

    cdef object apply_to_rows(self, object x):
        """`apply` along the last axis of an array in C order that has 2 to 8, and values."""
        cdef cnp.npy_intp shape[_FEW_AXES]
        cdef int axis, ndim = cnp.PyArray_NDIM(x)
        self.check_x(x, ndim)
        for axis in range(ndim):
            shape[axis] = cnp.PyArray_DIM(x, axis)
        shape[ndim - 1] = self._units
        y = _empty(ndim, shape, self.typenum)
        self._apply(x, y, cnp.PyArray_SIZE(x) // self._features, self._features, self._units, 0)
        return y

    cdef int _apply(self, object x, object y, size_t rows, ptrdiff_t x_row_stride, ptrdiff_t y_row_stride,
                    int threads) except -1:
        cdef lf_run call
        if self.cell != LF_DENSE:
            raise ValueError("a recurrent layer has steps: use run")
        memset(&call, 0, sizeof(call))
        call.batch = rows
        call.steps = 1
        call.x = cnp.PyArray_DATA(x)
        call.x_row_stride = x_row_stride
        call.y = cnp.PyArray_DATA(y)
        call.y_row_stride = y_row_stride
        call.threads = threads
        return self.execute(&call)


include "_core_calls.pxi"


include "_core_chains.pxi"


include "_core_passes.pxi"


def activation_names():
    cdef int kind = 0
    names = []
    while lf_activation_name(kind) != NULL:
        names.append(lf_activation_name(kind).decode())
        kind += 1
    return tuple(names)


def get_num_threads():
    return lf_threads()


def set_num_threads(int threads):
    cdef int before
    if lf_set_threads(threads, &before) != LF_OK:
        raise ValueError(f"threads: expected 0 (the default) to 1024, got {threads}")
    return before


def assume_processors(int count):
    lf_assume_processors(count)


def set_slice_seconds(double seconds):
    global _SLICE_SECONDS
    before, _SLICE_SECONDS = _SLICE_SECONDS, seconds
    return before


def isa():
    return lf_isa().decode()


def available_isas():
    cdef int index = 0
    names = []
    while lf_isa_available(index) != NULL:
        names.append(lf_isa_available(index).decode())
        index += 1
    return tuple(names)


def select_isa(name):
    encoded = None if name is None else name.encode()
    cdef const char *wanted = NULL
    if encoded is not None:
        wanted = encoded
    if lf_isa_select(wanted) != LF_OK:
        raise ValueError(f"instruction set {name!r} is not available; this machine has {', '.join(available_isas())}")


cdef _select_isa_from_environment():
    import os

    name = os.environ.get("LSTMFAST_ISA", "")
    if name:
        try:
            select_isa(name)
        except ValueError as error:
            raise ImportError(f"LSTMFAST_ISA: {error}") from None


_select_isa_from_environment()
