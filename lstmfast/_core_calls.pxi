# Part of _core.pyx: calls of several packed layers at once.

cdef int _run_together(list packed, lf_run *calls, int count, lf_together together) except -1:
    """Run calls of packed layers at once; one by one where one is long, for then it has to listen for signals."""
    cdef const lf_layer *layers[LF_LEVELS_MOST]
    cdef const lf_run *runs[LF_LEVELS_MOST]
    cdef PackedLayer layer
    cdef lf_status status
    cdef double seconds = 0
    cdef bint is_long = False
    cdef int i
    for i in range(count):
        layer = packed[i]
        layers[i] = layer.layer
        runs[i] = &calls[i]
        seconds += layer._seconds(runs[i])
        is_long = is_long or layer.is_long(runs[i])
    if is_long:
        for i in range(count):
            (<PackedLayer> packed[i]).execute(&calls[i])
        return 0
    if seconds < _BRIEF_SECONDS:
        status = lf_layers_run(layers, runs, count, together)
    else:
        with nogil:
            status = lf_layers_run(layers, runs, count, together)
    return (<PackedLayer> packed[0])._finish(status, runs[0])


cdef class Calls:
    """Calls of packed layers, noted first and run later."""

    cdef lf_run calls[LF_LEVELS_MOST]
    cdef int count
    cdef list packed
    cdef list held  # what the calls read and write

    def __init__(self):
        self.count = 0
        self.packed = []
        self.held = []

    cpdef object run(self, PackedLayer layer, object x, object mask, tuple initial_state, bint return_sequences,
                     bint return_state, bint go_backwards, bint zero_output_for_mask, object out):
        self._room(layer)
        layer.take_x(&self.calls[self.count], x)
        return self._fill(layer, x, None, mask, initial_state, return_sequences, return_state, go_backwards,
                          zero_output_for_mask, out)

    cpdef object run_indexed(self, PackedLayer layer, object indices, object table, object mask, tuple initial_state,
                             bint return_sequences, bint return_state, bint go_backwards, bint zero_output_for_mask,
                             object out):
        self._room(layer)
        layer.take_indices(&self.calls[self.count], indices, table)
        return self._fill(layer, indices, table, mask, initial_state, return_sequences, return_state, go_backwards,
                          zero_output_for_mask, out)

    cdef Pair joint(self):
        """What gives the calls their outputs, where they share an array."""
        return None

    cdef void placed(self, lf_run *call, PackedLayer layer) noexcept:
        """The call, whose outputs have their place, is the next one."""

    cdef int _room(self, PackedLayer layer) except -1:
        if layer is None:
            raise TypeError("expected a PackedLayer, got None")
        if self.held is None or self.count >= LF_LEVELS_MOST:
            raise ValueError(f"there is room for {LF_LEVELS_MOST} calls")
        return 0

    cdef object _fill(self, PackedLayer layer, object x, object table, object mask, tuple initial_state,
                      bint return_sequences, bint return_state, bint go_backwards, bint zero_output_for_mask,
                      object out):
        result = layer.fill(&self.calls[self.count], x, mask, initial_state, return_sequences, return_state,
                            go_backwards, zero_output_for_mask, out, 0, self.joint())
        self.placed(&self.calls[self.count], layer)
        self.packed.append(layer)
        self.held.append((x, table, mask, initial_state, result))
        self.count += 1
        return result

    cdef int _run_noted(self, lf_together together) except -1:
        cdef int count = self.count
        self.count = LF_LEVELS_MOST + 1  # they run once
        return _run_together(self.packed, self.calls, count, together)


@cython.final
cdef class Pair(Calls):
    cdef Py_ssize_t width, taken
    cdef object whole, out

    def __init__(self, Py_ssize_t width, out=None):
        Calls.__init__(self)
        if width < 0 or (width == 0 and out is not None):
            raise ValueError(f"width: expected at least {0 if out is None else 1}, got {width}")
        self.width = width
        self.out = out

    cdef Pair joint(self):
        return self if self.width > 0 else None

    cdef object half(self, lf_run *call, PackedLayer layer, int ndim, const cnp.npy_intp *shape, tuple inputs):
        """Let a call, whose own outputs would be of that shape, fill its part of the array of both."""
        cdef cnp.npy_intp sizes[3]
        cdef Py_ssize_t units = shape[ndim - 1]
        cdef int axis
        for axis in range(ndim):
            sizes[axis] = shape[axis]
        sizes[ndim - 1] = self.width
        if units > self.width - self.taken or (self.count == 1 and units < self.width - self.taken):
            raise ValueError(f"{units} units do not fit {self.width - self.taken} of {self.width}")
        if self.out is not None:
            _refuse_overlap(self.out, inputs)
        if self.count == 0:
            self.whole = layer._output(self.out, ndim, sizes, ())
        elif (cnp.PyArray_TYPE(self.whole) != layer.typenum
              or self.whole.shape != tuple([sizes[axis] for axis in range(ndim)])):
            raise ValueError("the second call's outputs have another shape or dtype than the first's")
        call.y = _at(cnp.PyArray_DATA(self.whole), self.taken, layer.itemsize)
        call.y_row_stride = _stride(self.whole, 0, layer.itemsize)
        call.y_step_stride = _stride(self.whole, 1, layer.itemsize) if ndim == 3 else 0
        self.taken += units
        return self.whole

    cdef void placed(self, lf_run *call, PackedLayer layer) noexcept:
        if self.count == 1 and call.return_sequences:
            call.y = _at(call.y, (<ptrdiff_t> call.steps - 1) * call.y_step_stride, layer.itemsize)
            call.y_step_stride = -call.y_step_stride

    def finish(self):
        if self.count != 2:
            raise ValueError("a pair has two calls")
        self._run_noted(LF_BESIDE)


@cython.final
cdef class Stack(Calls):
    def finish(self):
        if not 0 < self.count <= LF_LEVELS_MOST:
            raise ValueError("a stack has calls, and runs once")
        self._run_noted(LF_ABOVE)
