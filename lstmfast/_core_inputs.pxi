# Part of _core.pyx: what a caller's array is, asked of every call.

cdef Py_ssize_t _MOST_SAMPLES = 64


cdef inline bint _is_plain(object x, object dtype):
    """An array of that dtype, and of no subclass, in C order and aligned."""
    return (cnp.PyArray_CheckExact(x) and <object> cnp.PyArray_DESCR(x) is dtype
            and cnp.PyArray_IS_C_CONTIGUOUS(x) and cnp.PyArray_ISALIGNED(x))


# So many values of an input are converted at once: to look whether a signal waits would take longer.
cdef Py_ssize_t _FEW = 4096


@cython.final
cdef class KnownInputs:
    """Which arrays a caller may hand on as they are. Asked of every call: NumPy takes longer to tell an array's shape."""

    cdef object dtype
    cdef tuple samples  # the sizes of each known sample, as C has them
    cdef tuple rows

    def __init__(self, dtype):
        self.dtype = dtype
        self.samples = self.rows = ()

    def adding(self, tuple sample, Py_ssize_t rows):
        cdef KnownInputs more
        cdef cnp.npy_intp size
        encoded = b""
        for size in sample:
            encoded += (<char *> &size)[: sizeof(size)]
        if encoded in self.samples or len(self.samples) >= _MOST_SAMPLES:
            return self
        more = KnownInputs(self.dtype)
        more.samples = (encoded, *self.samples)
        more.rows = (rows, *self.rows)
        return more

    def __len__(self):
        return len(self.samples)

    def takes(self, x, bint bounded):
        return _is_plain(x, self.dtype) and self._fits(x, bounded)

    cpdef bint converts(self, object x, bint bounded):
        return (cnp.PyArray_CheckExact(x) and (<cnp.dtype> self.dtype).type_num != cnp.NPY_OBJECT
                and (cnp.PyArray_ISFLOAT(x) or cnp.PyArray_ISINTEGER(x) or cnp.PyArray_ISBOOL(x))
                and self._fits(x, bounded))

    def ready(self, x, bint bounded):
        return self._ready(x, bounded)

    cdef object _ready(self, object x, bint bounded):
        if _is_plain(x, self.dtype):
            return x if self._fits(x, bounded) else None
        if not self.converts(x, bounded) or cnp.PyArray_SIZE(x) > _FEW:
            return None
        return cnp.PyArray_Cast(x, (<cnp.dtype> self.dtype).type_num)

    cdef bint _fits(self, object x, bint bounded):
        cdef Py_ssize_t i, bytes_ = (cnp.PyArray_NDIM(x) - 1) * <Py_ssize_t> sizeof(cnp.npy_intp)
        cdef bytes sample
        if cnp.PyArray_NDIM(x) == 0:
            return False
        for i in range(len(self.samples)):
            sample = <bytes> self.samples[i]
            if len(sample) == bytes_ and memcmp(<char *> sample, cnp.PyArray_DIMS(x) + 1, bytes_) == 0:
                return not bounded or cnp.PyArray_DIM(x, 0) <= <Py_ssize_t> self.rows[i]
        return False


ctypedef fused _id_t:
    int32_t
    int64_t
    float
    double


cdef bint _copy_ids(const _id_t *x, Py_ssize_t size, Py_ssize_t count, int32_t *ids) noexcept:
    """Whether all are ids; a float's fraction is left out, as in Keras, and NaN is none."""
    cdef Py_ssize_t i
    for i in range(size):
        if _id_t is float or _id_t is double:
            if not (x[i] > -1 and x[i] < <_id_t> count):
                return False
        elif x[i] < 0 or x[i] >= count:
            return False
        ids[i] = <int32_t> x[i]
    return True


def few_ids(x, Py_ssize_t count):
    cdef Py_ssize_t size
    cdef int32_t *ids
    cdef void *data
    cdef bint fits
    cdef int width
    if not cnp.PyArray_CheckExact(x) or not cnp.PyArray_ISBEHAVED_RO(x) or not cnp.PyArray_IS_C_CONTIGUOUS(x):
        return None
    size = cnp.PyArray_SIZE(x)
    width = cnp.PyArray_ITEMSIZE(x)
    if size > _FEW or not (width == 4 or width == 8):
        return None
    if not cnp.PyArray_ISSIGNED(x) and cnp.PyArray_TYPE(x) not in (cnp.NPY_FLOAT32, cnp.NPY_FLOAT64):
        return None
    result = cnp.PyArray_SimpleNew(cnp.PyArray_NDIM(x), cnp.PyArray_DIMS(x), cnp.NPY_INT32)
    ids = <int32_t *> cnp.PyArray_DATA(result)
    data = cnp.PyArray_DATA(x)
    if cnp.PyArray_ISSIGNED(x):
        fits = (_copy_ids(<const int32_t *> data, size, count, ids) if width == 4
                else _copy_ids(<const int64_t *> data, size, count, ids))
    else:
        fits = (_copy_ids(<const float *> data, size, count, ids) if width == 4
                else _copy_ids(<const double *> data, size, count, ids))
    return result if fits else None


def are_states(arrays, dtype, Py_ssize_t batch, shapes):
    cdef Py_ssize_t i, axis
    cdef tuple shape
    if len(arrays) != len(shapes):
        return False
    for i in range(len(shapes)):
        array, shape = arrays[i], shapes[i]
        if not _is_plain(array, dtype):
            return False
        if cnp.PyArray_NDIM(array) != 1 + len(shape) or cnp.PyArray_DIM(array, 0) != batch:
            return False
        for axis in range(len(shape)):
            if shape[axis] is None or cnp.PyArray_DIM(array, 1 + axis) != <Py_ssize_t> shape[axis]:
                return False
    return True
