/* The choice among cards: scores and the best of them. router/decide/goals.py (parts), guard.py (totals) and
 * ranking.py (first_of) are the specification. */
#ifndef PULVINAR_CHOICE_H
#define PULVINAR_CHOICE_H

/* Whether an array has this form, without an exception where it has not; where it has, `buffer` must be released. */
static int has_form(PyObject *object, Py_buffer *buffer, char kind, Py_ssize_t count, int flags)
{
    if (get(object, buffer, kind, count, flags) == 0)
        return 1;
    PyErr_Clear();
    return 0;
}

/* loss_and_cost(quality (n,), cost in USD (n,), weight of the loss, USD of a mistake, out (2, n)) -> whether all is
 * known: what is not is assumed elsewhere. */
static PyObject *loss_and_cost(PyObject *module, PyObject *const *arguments, Py_ssize_t given)
{
    (void)module;
    if (!has_arguments(given, 5))
        return NULL;
    double weight = PyFloat_AsDouble(arguments[2]), mistake = PyFloat_AsDouble(arguments[3]);
    if (PyErr_Occurred())
        return NULL;
    Py_buffer quality, cost, out;
    int done = 0;
    if (!has_form(arguments[0], &quality, 'd', -1, 0))
        return PyBool_FromLong(0);
    Py_ssize_t count = quality.len / 8;
    if (has_form(arguments[1], &cost, 'd', count, 0)) {
        if (has_form(arguments[4], &out, 'd', 2 * count, PyBUF_WRITABLE)) {
            const double *of_quality = quality.buf, *usd = cost.buf;
            double *restrict loss = out.buf, *restrict share = loss + count;
            int64_t unknown = 0;
            for (Py_ssize_t i = 0; i < count; i++) {
                double lost = 1.0 - of_quality[i];
                loss[i] = (lost < 1.0 ? lost : 1.0) * weight;
            }
            for (Py_ssize_t i = 0; i < count; i++) {
                double scaled = usd[i] / mistake * 1e9;
                unknown |= !(scaled >= 0.0 && scaled < 0x1p51);
                share[i] = ((scaled + ROUNDS) - ROUNDS) / 1e9;
            }
            done = !unknown;
            PyBuffer_Release(&out);
        }
        PyBuffer_Release(&cost);
    }
    PyBuffer_Release(&quality);
    return PyBool_FromLong(done);
}

/* totals(parts (n,) …: tuple, mean quality (n,), independent deviation (n,), weight of the loss, out (3, n)) -> whether
 * the arrays have this form. The first part is the loss. */
static PyObject *totals(PyObject *module, PyObject *const *arguments, Py_ssize_t given)
{
    (void)module;
    if (!has_arguments(given, 5))
        return NULL;
    double weight = PyFloat_AsDouble(arguments[3]);
    if (PyErr_Occurred())
        return NULL;
    if (!is_a(arguments[0], TUPLE)) {
        PyErr_SetString(PyExc_TypeError, "the parts are no tuple");
        return NULL;
    }
    Py_ssize_t parts = PyTuple_Size(arguments[0]);
    Py_buffer mean, deviation, out, part;
    int done = 0;
    if (!parts || !has_form(arguments[1], &mean, 'd', -1, 0))
        return PyBool_FromLong(0);
    Py_ssize_t count = mean.len / 8;
    if (has_form(arguments[2], &deviation, 'd', count, 0)) {
        if (has_form(arguments[4], &out, 'd', 3 * count, PyBUF_WRITABLE)) {
            const double *of_mean = mean.buf, *own = deviation.buf;
            double *restrict score = out.buf, *restrict uncertainty = score + count, *restrict safe = score + 2 * count;
            for (Py_ssize_t i = 0; i < count; i++) {
                double lost = 1.0 - of_mean[i];
                safe[i] = (lost < 1.0 ? lost : 1.0) * weight;
                uncertainty[i] = (own[i] < 0.5 ? own[i] : 0.5) * weight;
            }
            done = 1;
            for (Py_ssize_t number = 0; done && number < parts; number++) {
                if (!(done = has_form(PyTuple_GetItem(arguments[0], number), &part, 'd', count, 0)))
                    break;
                const double *values = part.buf;
                if (number == 0)
                    memcpy(score, values, (size_t)count * 8);
                else
                    for (Py_ssize_t i = 0; i < count; i++) {
                        score[i] += values[i];
                        safe[i] += values[i];
                    }
                PyBuffer_Release(&part);
            }
            for (Py_ssize_t i = 0; i < count; i++)
                safe[i] += uncertainty[i];
            PyBuffer_Release(&out);
        }
        PyBuffer_Release(&deviation);
    }
    PyBuffer_Release(&mean);
    return PyBool_FromLong(done);
}

enum { MOST_RANKED = 64 };

/* Whether `value` is before `other` in ascending order, where NaN is last. */
static inline int precedes(double value, double other)
{
    return value < other || (value == value && other != other);
}

/* Write the positions of the `room` least values that are not rejected, in order, and the values; returns how many.
 * Equal ones are in the order of their positions, and what is no number comes last. */
static long least_of(const double *values, const unsigned char *rejected, long count, long room, int64_t *best, double *kept)
{
    long found = 0;
    for (long i = 0; i < count; i++) {
        double value = values[i];
        if (rejected[i] || room == 0)
            continue;
        if (found == room && !precedes(value, kept[found - 1]))
            continue;
        long place = found < room ? found++ : found - 1;
        for (; place > 0 && precedes(value, kept[place - 1]); place--) {
            kept[place] = kept[place - 1];
            best[place] = best[place - 1];
        }
        kept[place] = value;
        best[place] = i;
    }
    return found;
}

/* first_of(values (n,), rejected bool (n,), out int64 (at most MOST_RANKED,)) -> how many positions were written: those
 * of the least values that are not rejected, in order; None where the arrays have another form. */
static PyObject *first_of(PyObject *module, PyObject *const *arguments, Py_ssize_t given)
{
    (void)module;
    if (!has_arguments(given, 3))
        return NULL;
    Py_buffer values, rejected, out;
    Py_ssize_t found = -1;
    if (!has_form(arguments[0], &values, 'd', -1, 0))
        return none();
    Py_ssize_t count = values.len / 8;
    if (has_form(arguments[1], &rejected, '?', count, 0)) {
        if (has_form(arguments[2], &out, 'q', -1, PyBUF_WRITABLE)) {
            Py_ssize_t room = out.len / 8;
            if (room <= MOST_RANKED) {
                double kept[MOST_RANKED];
                found = least_of(values.buf, rejected.buf, (long)count, (long)room, out.buf, kept);
            }
            PyBuffer_Release(&out);
        }
        PyBuffer_Release(&rejected);
    }
    PyBuffer_Release(&values);
    return found < 0 ? none() : PyLong_FromSsize_t(found);
}

#endif
