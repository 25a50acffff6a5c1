# Part of _core.pyx: passes over arrays, and products of them.

cdef dict _NORMS = {"layer": LF_PASS_LAYER_NORM, "unit": LF_PASS_UNIT_NORM}


cdef int _begin_pass(lf_pass *call, lf_pass_kind kind, object x) except -1:
    cdef int typenum = _typenum(x)
    if not cnp.PyArray_IS_C_CONTIGUOUS(x):
        raise TypeError("x: expected a C-contiguous array")
    memset(call, 0, sizeof(lf_pass))
    call.kind = kind
    call.real = LF_F32 if typenum == cnp.NPY_FLOAT32 else LF_F64
    return 0


cdef const void *_of_columns(object values, object x, size_t columns, str what) except? NULL:
    """What a pass has for each column; None: nothing."""
    if values is None:
        return NULL
    _check_weights(values, cnp.PyArray_TYPE(x), (columns,), what)
    return cnp.PyArray_DATA(values)


cdef object _pass_output(object x, int ndim, cnp.npy_intp *shape, object out):
    y = _output(cnp.PyArray_TYPE(x), out, ndim, shape, (x,))
    if not cnp.PyArray_IS_C_CONTIGUOUS(y):
        raise TypeError("out: expected a C-contiguous array")
    return y


cdef object _run_rows(lf_pass *call, object x, size_t columns, object out):
    """A pass of which each row of columns becomes one as long: an array like x."""
    y = _pass_output(x, cnp.PyArray_NDIM(x), cnp.PyArray_DIMS(x), out)
    call.columns = columns
    if columns > 0:
        _run_pass(call, x, y, cnp.PyArray_SIZE(x) // columns, columns, columns)
    return y


cdef int _run_pass(lf_pass *call, object x, object y, size_t rows, size_t row_inputs, size_t row_outputs) except -1:
    cdef lf_status status = LF_OK
    cdef Py_ssize_t itemsize = cnp.PyArray_ITEMSIZE(x)
    cdef size_t row = 0, at_once
    cdef size_t row_values = max(max(row_inputs, row_outputs), <size_t> 1)
    cdef const uint8_t *step_mask = call.step_mask
    cdef uint8_t *kept = call.kept
    at_once = <size_t> (_SLICE_SECONDS / (_FRESH_SECONDS * row_values)) + 1
    while row < rows:
        call.rows = min(rows - row, at_once)
        call.x = _at(cnp.PyArray_DATA(x), row * row_inputs, itemsize)
        call.y = _at(cnp.PyArray_DATA(y), row * row_outputs, itemsize)
        if step_mask != NULL:
            call.step_mask = step_mask + row * call.steps
        if kept != NULL:
            call.kept = kept + row
        if call.rows * row_values * _PASS_SECONDS < _BRIEF_SECONDS:
            status = lf_pass_run(call)
        else:
            with nogil:
                status = lf_pass_run(call)
        if status != LF_OK:
            _raise(status, "this call")
        row += call.rows
        if row < rows:
            PyErr_CheckSignals()
    return 0


def activate(activation, x, out=None):
    cdef lf_pass call
    cdef int ndim
    _begin_pass(&call, LF_PASS_ACTIVATION, x)
    _activation(activation, &call.activation)
    ndim = cnp.PyArray_NDIM(x)
    return _run_rows(&call, x, cnp.PyArray_DIM(x, ndim - 1) if ndim > 0 else 1, out)


def scale(x, shift, scale, offset, out=None):
    cdef lf_pass call
    cdef size_t columns
    _begin_pass(&call, LF_PASS_SCALE, x)
    if cnp.PyArray_NDIM(x) == 0:
        raise ValueError("x: expected an array with a last axis")
    columns = cnp.PyArray_DIM(x, cnp.PyArray_NDIM(x) - 1)
    call.shift = _of_columns(shift, x, columns, "shift")
    call.scale = _of_columns(scale, x, columns, "scale")
    call.offset = _of_columns(offset, x, columns, "offset")
    return _run_rows(&call, x, columns, out)


def prelu(x, scale, out=None):
    cdef lf_pass call
    cdef Py_ssize_t columns
    _begin_pass(&call, LF_PASS_PRELU, x)
    if not isinstance(scale, cnp.ndarray) or cnp.PyArray_SIZE(scale) == 0 or cnp.PyArray_SIZE(x) % scale.size:
        raise ValueError(f"scale: expected an array whose size divides that of x, {cnp.PyArray_SIZE(x)}")
    columns = cnp.PyArray_SIZE(scale)
    call.scale = _of_columns(scale, x, columns, "scale")
    return _run_rows(&call, x, columns, out)


def mask(x, double value):
    cdef lf_pass call
    cdef int ndim = cnp.PyArray_NDIM(x) if isinstance(x, cnp.ndarray) else 0
    _begin_pass(&call, LF_PASS_MASK, x)
    if ndim == 0:
        raise ValueError("x: expected an array with a last axis")
    kept = cnp.PyArray_ZEROS(ndim - 1, cnp.PyArray_DIMS(x), cnp.NPY_BOOL, 0)
    call.mask_value = value
    call.kept = <uint8_t *> cnp.PyArray_DATA(kept)
    return _run_rows(&call, x, cnp.PyArray_DIM(x, ndim - 1), None), kept


def normalize(str kind, x, Py_ssize_t columns, double epsilon, scale, offset, out=None):
    cdef lf_pass call
    if kind not in _NORMS:
        raise ValueError(f"unknown kind {kind!r}; expected one of {', '.join(_NORMS)}")
    _begin_pass(&call, _NORMS[kind], x)
    if columns < 0 or (cnp.PyArray_SIZE(x) % columns if columns > 0 else cnp.PyArray_SIZE(x)):
        raise ValueError(f"columns: expected a divisor of the size {cnp.PyArray_SIZE(x)}, got {columns}")
    call.epsilon = epsilon
    call.scale = _of_columns(scale, x, columns, "scale")
    call.offset = _of_columns(offset, x, columns, "offset")
    return _run_rows(&call, x, columns, out)


def dot(x, scale):
    cdef lf_pass call
    cdef int ndim = cnp.PyArray_NDIM(x) if isinstance(x, cnp.ndarray) else 0
    _begin_pass(&call, LF_PASS_DOT, x)
    if ndim == 0:
        raise ValueError("x: expected an array with a last axis")
    call.columns = cnp.PyArray_DIM(x, ndim - 1)
    call.scale = _of_columns(scale, x, call.columns, "scale")
    if call.columns == 0:
        return cnp.PyArray_ZEROS(ndim - 1, cnp.PyArray_DIMS(x), cnp.PyArray_TYPE(x), 0)
    y = _empty(ndim - 1, cnp.PyArray_DIMS(x), cnp.PyArray_TYPE(x))
    _run_pass(&call, x, y, cnp.PyArray_SIZE(y), call.columns, 1)
    return y


cdef dict _POOLS = {"mean": LF_PASS_MEAN, "sum": LF_PASS_SUM, "max": LF_PASS_MAX}


def pool(str kind, x, Py_ssize_t windows, Py_ssize_t extent, Py_ssize_t stride, Py_ssize_t before, step_mask,
         out=None):
    cdef lf_pass call
    cdef cnp.npy_intp shape[3]
    if kind not in _POOLS:
        raise ValueError(f"unknown kind {kind!r}; expected one of {', '.join(_POOLS)}")
    _begin_pass(&call, _POOLS[kind], x)
    if cnp.PyArray_NDIM(x) != 3:
        raise ValueError(f"x: expected (batch, steps, columns), got shape {x.shape}")
    if windows < 0 or extent < 1 or stride < 1 or before < 0:
        raise ValueError(f"expected windows of at least one step, got {(windows, extent, stride, before)}")
    call.steps = cnp.PyArray_DIM(x, 1)
    call.windows = windows
    call.extent = extent
    call.stride = stride
    call.before = before
    if step_mask is not None:
        if kind == "max" or not isinstance(step_mask, cnp.ndarray) or step_mask.dtype != bool:
            raise TypeError("step_mask: expected an array of bool, for a mean or a sum")
        if step_mask.shape != x.shape[:2] or not cnp.PyArray_IS_C_CONTIGUOUS(step_mask):
            raise ValueError(f"step_mask: expected shape {x.shape[:2]} in C order, got {step_mask.shape}")
        call.step_mask = <const uint8_t *> cnp.PyArray_DATA(step_mask)
    shape[0] = cnp.PyArray_DIM(x, 0)
    shape[1] = windows
    shape[2] = call.columns = cnp.PyArray_DIM(x, 2)
    y = _pass_output(x, 3, shape, out)
    if windows > 0:
        _run_pass(&call, x, y, shape[0], call.steps * call.columns, windows * call.columns)
    return y


def multiply(a, b):
    cdef lf_products call
    cdef lf_status status
    cdef cnp.npy_intp shape[3]
    cdef int typenum = _typenum(a)
    cdef Py_ssize_t itemsize = 4 if typenum == cnp.NPY_FLOAT32 else 8
    cdef size_t sample = 0, samples, at_once
    cdef double seconds
    if _typenum(b) != typenum:
        raise TypeError(f"b: expected {a.dtype}, got {b.dtype}")
    if cnp.PyArray_NDIM(a) != 3 or cnp.PyArray_NDIM(b) != 3 or a.shape[0] != b.shape[0] or a.shape[2] != b.shape[1]:
        raise ValueError(f"expected (batch, m, k) and (batch, k, n), got {a.shape} and {b.shape}")
    if not _last_axis_contiguous(a, 2, itemsize):
        raise TypeError("a: expected a contiguous last axis")
    memset(&call, 0, sizeof(call))
    call.real = LF_F32 if typenum == cnp.NPY_FLOAT32 else LF_F64
    shape[0] = samples = a.shape[0]
    shape[1] = call.rows = a.shape[1]
    shape[2] = call.columns = b.shape[2]
    call.inner = a.shape[2]
    call.a_stride = _stride(a, 0, itemsize)
    call.a_row_stride = _stride(a, 1, itemsize)
    call.b_stride = _stride(b, 0, itemsize)
    call.b_row_stride = _stride(b, 1, itemsize)
    call.b_column_stride = _stride(b, 2, itemsize)
    if call.inner == 0:
        return cnp.PyArray_ZEROS(3, shape, typenum, 0)
    y = _empty(3, shape, typenum)
    seconds = 1e-10 * (call.rows + 16) * call.inner * (call.columns + 16)
    if seconds > _SLICE_SECONDS and call.rows > 0 and call.columns > 0:  # each of them listens for signals
        for i in range(shape[0]):
            kernel = cnp.PyArray_GETCONTIGUOUS(b[i])
            PackedLayer("dense", kernel, None, None, ("linear", 0.0, 0.0, 0.0), None).apply(a[i], y[i], 0)
        return y
    at_once = <size_t> (_SLICE_SECONDS / (seconds + 1e-7)) + 1
    while sample < samples:
        call.count = min(samples - sample, at_once)
        call.a = _at(cnp.PyArray_DATA(a), sample * call.a_stride, itemsize)
        call.b = _at(cnp.PyArray_DATA(b), sample * call.b_stride, itemsize)
        call.y = _at(cnp.PyArray_DATA(y), sample * call.rows * call.columns, itemsize)
        with nogil:
            status = lf_products_run(&call)
        if status != LF_OK:
            _raise(status, "this product")
        sample += call.count
        PyErr_CheckSignals()
    return y
