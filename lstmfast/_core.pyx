# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The boundary to the C core: checks every buffer against what the core will touch, then calls it without the GIL."""

cimport cython
cimport numpy as cnp
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, uint8_t
from libc.string cimport memcpy, memset

cnp.import_array()

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


cdef int _refuse_overlap(object out, tuple inputs) except -1:
    from numpy import may_share_memory

    for array in inputs:
        if array is not None and may_share_memory(out, array):
            raise ValueError("out: the array overlaps an input")
    return 0


@cython.final
cdef class PackedLayer:
    cdef lf_layer *layer
    cdef lf_cell cell
    cdef Py_ssize_t _features
    cdef Py_ssize_t _units
    cdef int typenum
    cdef Py_ssize_t itemsize
    cdef str _isa

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
        else:
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
        with nogil:
            status = lf_layer_create(&config, &self.layer)
        if status != LF_OK:
            _raise(status, f"a {kind} layer of {self._units} units")

    def __dealloc__(self):
        lf_layer_destroy(self.layer)

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

    cdef object _output(self, object out, int ndim, cnp.npy_intp *shape):
        cdef int i
        cdef Py_ssize_t extent
        if out is None:
            return cnp.PyArray_EMPTY(ndim, shape, self.typenum, 0)
        expected = tuple([shape[i] for i in range(ndim)])
        if _typenum(out) != self.typenum:
            raise TypeError(f"out: expected {self.dtype}, got {out.dtype}")
        if out.shape != expected:
            raise ValueError(f"out: expected shape {expected}, got {out.shape}")
        if not cnp.PyArray_ISWRITEABLE(out):
            raise ValueError("out: the array is read-only")
        if not _last_axis_contiguous(out, ndim - 1, self.itemsize):
            raise ValueError("out: expected a contiguous last axis")
        extent = shape[ndim - 1] * self.itemsize
        for i in range(ndim - 2, -1, -1):
            if shape[i] > 1:
                if cnp.PyArray_STRIDE(out, i) < extent:
                    raise ValueError(f"out: its elements overlap or run backwards; strides {out.strides}")
                extent = shape[i] * cnp.PyArray_STRIDE(out, i)
        return out

    cdef const void *_state(self, object state, Py_ssize_t batch, str what) except NULL:
        if _typenum(state) != self.typenum or not cnp.PyArray_IS_C_CONTIGUOUS(state):
            raise TypeError(f"{what}: expected a C-contiguous array of {self.dtype}")
        if (cnp.PyArray_NDIM(state) != 2 or cnp.PyArray_DIM(state, 0) != batch
                or cnp.PyArray_DIM(state, 1) != self._units):
            raise ValueError(f"{what}: expected shape {(batch, self._units)}, got {state.shape}")
        return cnp.PyArray_DATA(state)

    def run(self, x, mask, initial_state, bint return_sequences, bint return_state, bint go_backwards,
            bint zero_output_for_mask, out, int threads):
        cdef lf_run call
        if self.cell == LF_DENSE:
            raise ValueError("a dense layer has no steps: use apply")
        self.check_x(x, 3)
        memset(&call, 0, sizeof(call))
        call.x = cnp.PyArray_DATA(x)
        call.x_row_stride = _stride(x, 0, self.itemsize)
        call.x_step_stride = _stride(x, 1, self.itemsize)
        return self._run(&call, x, mask, initial_state, return_sequences, return_state, go_backwards,
                         zero_output_for_mask, out, threads)

    def run_indexed(self, indices, table, mask, initial_state, bint return_sequences, bint return_state,
                    bint go_backwards, bint zero_output_for_mask, out, int threads):
        cdef lf_run call
        cdef Py_ssize_t width = self._projection_width()
        if not isinstance(indices, cnp.ndarray) or cnp.PyArray_TYPE(indices) != cnp.NPY_INT32:
            raise TypeError("indices: expected an array of int32")
        if cnp.PyArray_NDIM(indices) != 2 or not cnp.PyArray_ISBEHAVED_RO(indices):
            raise ValueError(f"indices: expected aligned native (batch, steps), got shape {indices.shape}")
        if _typenum(table) != self.typenum or not cnp.PyArray_IS_C_CONTIGUOUS(table):
            raise TypeError(f"table: expected a C-contiguous array of {self.dtype}")
        if cnp.PyArray_NDIM(table) != 2 or cnp.PyArray_DIM(table, 1) != width:
            raise ValueError(f"table: expected shape (rows, {width}) as project gives it, got {table.shape}")
        memset(&call, 0, sizeof(call))
        call.table = cnp.PyArray_DATA(table)
        call.table_rows = cnp.PyArray_DIM(table, 0)
        call.indices = <const int32_t *> cnp.PyArray_DATA(indices)
        call.index_row_stride = _stride(indices, 0, 4)
        call.index_step_stride = _stride(indices, 1, 4)
        return self._run(&call, indices, mask, initial_state, return_sequences, return_state, go_backwards,
                         zero_output_for_mask, out, threads)

    cdef object _run(self, lf_run *call, object x, object mask, object initial_state, bint return_sequences,
                     bint return_state, bint go_backwards, bint zero_output_for_mask, object out, int threads):
        """The part that all inputs share; x is (batch, steps, ...)."""
        cdef lf_status status
        cdef cnp.npy_intp shape[3]
        cdef bint has_cell = self.cell == LF_LSTM
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
            call.initial_h = self._state(initial_state[0], call.batch, "initial_state[0]")
            if has_cell:
                call.initial_c = self._state(initial_state[1], call.batch, "initial_state[1]")
        shape[0] = call.batch
        if call.return_sequences:
            shape[1] = call.steps
            shape[2] = self._units
            y = self._output(out, 3, shape)
            call.y_step_stride = _stride(y, 1, self.itemsize)
        else:
            shape[1] = self._units
            y = self._output(out, 2, shape)
        if out is not None:
            _refuse_overlap(out, (x, mask, *(initial_state or ())))
        call.y = cnp.PyArray_DATA(y)
        call.y_row_stride = _stride(y, 0, self.itemsize)
        h = c = None
        if return_state:
            shape[1] = self._units
            h = cnp.PyArray_EMPTY(2, shape, self.typenum, 0)
            call.final_h = cnp.PyArray_DATA(h)
            if has_cell:
                c = cnp.PyArray_EMPTY(2, shape, self.typenum, 0)
                call.final_c = cnp.PyArray_DATA(c)
        with nogil:
            status = lf_layer_run(self.layer, call)
        if status == LF_INVALID and call.table != NULL:
            raise ValueError(f"indices: expected numbers from 0 to {call.table_rows - 1}")
        if status != LF_OK:
            _raise(status, "this call")
        if not return_state:
            return y
        return (y, h, c) if has_cell else (y, h)

    cdef Py_ssize_t _projection_width(self) except -1:
        if self.layer == NULL or lf_projection_width(self.layer) == 0:
            raise ValueError(f"a {self.kind} layer can not start from a projection")
        return lf_projection_width(self.layer)

    def project(self, x):
        cdef lf_status status
        cdef const void *source
        cdef void *target
        cdef ptrdiff_t stride
        cdef size_t rows
        cdef cnp.npy_intp shape[2]
        shape[1] = self._projection_width()
        self.check_x(x, 2)
        shape[0] = rows = cnp.PyArray_DIM(x, 0)
        table = cnp.PyArray_ZEROS(2, shape, self.typenum, 0)
        source = cnp.PyArray_DATA(x)
        target = cnp.PyArray_DATA(table)
        stride = _stride(x, 0, self.itemsize)
        with nogil:
            status = lf_layer_project(self.layer, source, stride, rows, target)
        if status != LF_OK:
            _raise(status, "this projection")
        return table

    def apply(self, x, out, int threads):
        cdef lf_run call
        cdef lf_status status
        cdef cnp.npy_intp shape[2]
        if self.cell != LF_DENSE:
            raise ValueError("a recurrent layer has steps: use run")
        self.check_x(x, 2)
        memset(&call, 0, sizeof(call))
        call.batch = cnp.PyArray_DIM(x, 0)
        call.steps = 1
        call.x = cnp.PyArray_DATA(x)
        call.x_row_stride = _stride(x, 0, self.itemsize)
        shape[0] = call.batch
        shape[1] = self._units
        y = self._output(out, 2, shape)
        if out is not None:
            _refuse_overlap(out, (x,))
        call.y = cnp.PyArray_DATA(y)
        call.y_row_stride = _stride(y, 0, self.itemsize)
        call.threads = threads
        with nogil:
            status = lf_layer_run(self.layer, &call)
        if status != LF_OK:
            _raise(status, "this call")
        return y


@cython.final
cdef class Stepper:
    """One recurrent layer with a state of its own, one step a call: no argument is looked at twice."""

    cdef PackedLayer packed
    cdef lf_run call
    cdef Py_ssize_t batch
    cdef object h
    cdef object c

    def __init__(self, PackedLayer packed not None, Py_ssize_t batch, int threads):
        cdef cnp.npy_intp shape[2]
        if packed.layer == NULL or packed.cell == LF_DENSE or batch < 1:
            raise ValueError(f"expected a recurrent layer and a batch of at least 1, got {packed.kind} and {batch}")
        self.packed = packed
        self.batch = batch
        shape[0] = batch
        shape[1] = packed._units
        self.h = cnp.PyArray_ZEROS(2, shape, packed.typenum, 0)
        memset(&self.call, 0, sizeof(self.call))
        self.call.batch = batch
        self.call.steps = 1
        self.call.x_row_stride = packed._features
        self.call.y_row_stride = packed._units
        self.call.initial_h = self.call.final_h = cnp.PyArray_DATA(self.h)
        if packed.cell == LF_LSTM:
            self.c = cnp.PyArray_ZEROS(2, shape, packed.typenum, 0)
            self.call.initial_c = self.call.final_c = cnp.PyArray_DATA(self.c)
        self.call.threads = threads

    def __call__(self, x):
        """y (batch, units) of one step x (batch, features), C-contiguous in the layer's dtype; updates the state."""
        cdef PackedLayer packed = self.packed
        cdef lf_run call
        cdef lf_status status
        cdef cnp.npy_intp shape[2]
        if packed is None:
            raise ValueError("this Stepper was never initialised")
        packed.check_x(x, 2)
        if cnp.PyArray_DIM(x, 0) != self.batch or not cnp.PyArray_IS_C_CONTIGUOUS(x):
            raise ValueError(f"x: expected a C-contiguous array of shape {(self.batch, packed._features)}, got {x.shape}")
        shape[0] = self.batch
        shape[1] = packed._units
        y = cnp.PyArray_EMPTY(2, shape, packed.typenum, 0)
        call = self.call
        call.x = cnp.PyArray_DATA(x)
        call.y = cnp.PyArray_DATA(y)
        with nogil:
            status = lf_layer_run(packed.layer, &call)
        if status != LF_OK:
            _raise(status, "this step")
        return y

    def get_state(self):
        """Copies of the state's arrays: (h, c) or (h,)."""
        if self.packed is None:
            raise ValueError("this Stepper was never initialised")
        return (self.h.copy(),) if self.c is None else (self.h.copy(), self.c.copy())

    def set_state(self, state):
        """Take over arrays as get_state gives them; raises before any of them is copied."""
        cdef Py_ssize_t bytes_
        cdef const void *h
        cdef const void *c = NULL
        if self.packed is None:
            raise ValueError("this Stepper was never initialised")
        bytes_ = self.batch * self.packed._units * self.packed.itemsize
        count = 1 if self.c is None else 2
        if len(state) != count:
            raise ValueError(f"state: expected {count} arrays, got {len(state)}")
        h = self.packed._state(state[0], self.batch, "state[0]")
        if self.c is not None:
            c = self.packed._state(state[1], self.batch, "state[1]")
        memcpy(self.call.final_h, h, bytes_)
        if c != NULL:
            memcpy(self.call.final_c, c, bytes_)


def activate(activation, x):
    cdef lf_activation description
    cdef lf_status status
    cdef int typenum = _typenum(x)
    cdef int ndim = cnp.PyArray_NDIM(x)
    cdef size_t size = cnp.PyArray_SIZE(x)
    cdef size_t columns = cnp.PyArray_DIM(x, ndim - 1) if ndim > 0 else 1
    cdef const void *source
    cdef void *target
    if not cnp.PyArray_IS_C_CONTIGUOUS(x):
        raise TypeError("x: expected a C-contiguous array")
    _activation(activation, &description)
    y = cnp.PyArray_EMPTY(ndim, cnp.PyArray_DIMS(x), typenum, 0)
    if size > 0:
        source = cnp.PyArray_DATA(x)
        target = cnp.PyArray_DATA(y)
        with nogil:
            status = lf_activate(LF_F32 if typenum == cnp.NPY_FLOAT32 else LF_F64, description, source, target,
                                 size // columns, columns)
        if status != LF_OK:
            _raise(status, "this call")
    return y


def activation_names():
    cdef int kind = 0
    names = []
    while lf_activation_name(kind) != NULL:
        names.append(lf_activation_name(kind).decode())
        kind += 1
    return tuple(names)


def get_num_threads():
    return lf_threads()


def get_num_threads_set():
    return lf_threads_set()


def set_num_threads(int threads):
    if lf_set_threads(threads) != LF_OK:
        raise ValueError(f"threads: expected 0 (the default) to 1024, got {threads}")


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
