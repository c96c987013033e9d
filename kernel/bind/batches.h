/* Functions for training: steps of many prompts at once. */

/* similarities(cosines float64 (rows, landmarks), rows, sharpness, center float32 (landmarks,), scale): in place */
static PyObject *similarities(PyObject *module, PyObject *const *arguments, Py_ssize_t given)
{
    (void)module;
    if (!has_arguments(given, 5))
        return NULL;
    Py_ssize_t rows = PyLong_AsSsize_t(arguments[1]);
    double sharpness = PyFloat_AsDouble(arguments[2]);
    if (PyErr_Occurred())
        return NULL;
    Py_buffer center, scale, cosines;
    if (get(arguments[3], &center, 'f', -1, 0) < 0)
        return NULL;
    Py_ssize_t count = center.len / 4;
    int failed = get(arguments[4], &scale, 'f', count, 0) < 0;
    if (!failed) {
        failed = rows < 0 || rows > PY_SSIZE_T_MAX / 8 / (count + 1);
        if (failed)
            PyErr_SetString(PyExc_ValueError, "a number of prompts is out of range");
        else
            failed = get(arguments[0], &cosines, 'd', rows * count, PyBUF_WRITABLE) < 0;
        if (!failed) {
            batches->similarities(cosines.buf, (long)rows, (long)count, sharpness, center.buf, scale.buf);
            PyBuffer_Release(&cosines);
        }
        PyBuffer_Release(&scale);
    }
    PyBuffer_Release(&center);
    return failed ? NULL : none();
}

/* in_order(rows float64 (rows, terms), rows, terms, matrix float32 (terms, columns), out float64 (rows, columns)), where
 * the number of columns is a multiple of four */
static PyObject *in_order(PyObject *module, PyObject *const *arguments, Py_ssize_t given)
{
    (void)module;
    if (!has_arguments(given, 5))
        return NULL;
    Py_ssize_t rows = PyLong_AsSsize_t(arguments[1]), terms = PyLong_AsSsize_t(arguments[2]);
    if (rows < 0 || terms < 1 || rows > PY_SSIZE_T_MAX / 8 / terms) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "a number of prompts or terms is out of range");
        return NULL;
    }
    Py_buffer left, matrix, out;
    if (get(arguments[0], &left, 'd', rows * terms, 0) < 0)
        return NULL;
    int failed = get(arguments[3], &matrix, 'f', -1, 0) < 0;
    if (!failed) {
        Py_ssize_t columns = matrix.len / 4 / terms;
        failed = columns * terms * 4 != matrix.len || columns % 4 || rows > PY_SSIZE_T_MAX / 8 / (columns + 1);
        if (failed)
            PyErr_SetString(PyExc_ValueError, "the matrix does not fit");
        else
            failed = get(arguments[4], &out, 'd', rows * columns, PyBUF_WRITABLE) < 0;
        if (!failed) {
            for (Py_ssize_t i = 0; i < rows; i++)
                batches->in_order((const double *)left.buf + i * terms, matrix.buf, (long)terms, (long)columns,
                                  (double *)out.buf + i * columns);
            PyBuffer_Release(&out);
        }
        PyBuffer_Release(&matrix);
    }
    PyBuffer_Release(&left);
    return failed ? NULL : none();
}
