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

/* The weighted loss and the cost in units of a mistake's, one after the other in `out`; returns whether all is known. */
static int losses_and_shares(const double *quality, const double *usd, Py_ssize_t count, double weight, double mistake,
                             double *restrict out)
{
    double *restrict share = out + count;
    int64_t unknown = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        double lost = 1.0 - quality[i];
        out[i] = (lost < 1.0 ? lost : 1.0) * weight;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        double scaled = usd[i] / mistake * 1e9;
        unknown |= !(scaled >= 0.0 && scaled < 0x1p51);
        share[i] = ((scaled + ROUNDS) - ROUNDS) / 1e9;
    }
    return !unknown;
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
            done = losses_and_shares(quality.buf, cost.buf, count, weight, mistake, out.buf);
            PyBuffer_Release(&out);
        }
        PyBuffer_Release(&cost);
    }
    PyBuffer_Release(&quality);
    return PyBool_FromLong(done);
}

/* The weighted loss on an average prompt, and the deviation of that on this one. */
static void begin_totals(const double *mean, const double *deviation, Py_ssize_t count, double weight,
                         double *restrict uncertainty, double *restrict safe)
{
    for (Py_ssize_t i = 0; i < count; i++) {
        double lost = 1.0 - mean[i];
        safe[i] = (lost < 1.0 ? lost : 1.0) * weight;
        uncertainty[i] = (deviation[i] < 0.5 ? deviation[i] : 0.5) * weight;
    }
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
            double *restrict score = out.buf, *restrict uncertainty = score + count, *restrict safe = score + 2 * count;
            begin_totals(mean.buf, deviation.buf, count, weight, uncertainty, safe);
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

static PyObject *list_of(const int64_t *positions, Py_ssize_t count)
{
    PyObject *list = PyList_New(count);
    for (Py_ssize_t i = 0; list != NULL && i < count; i++) {
        PyObject *position = PyLong_FromSsize_t((Py_ssize_t)positions[i]);
        if (position == NULL || PyList_SetItem(list, i, position) < 0) {
            Py_DecRef(list);
            return NULL;
        }
    }
    return list;
}

/* first_of(values (n,), rejected bool (n,), count up to MOST_RANKED) -> the positions of the least values that are not
 * rejected, in order, as a list; None where the arrays have another form, or more are asked for. */
static PyObject *first_of(PyObject *module, PyObject *const *arguments, Py_ssize_t given)
{
    (void)module;
    if (!has_arguments(given, 3))
        return NULL;
    Py_buffer values, rejected;
    Py_ssize_t room = PyLong_AsSsize_t(arguments[2]), found = -1;
    int64_t positions[MOST_RANKED];
    if (room < 0 || room > MOST_RANKED)
        return PyErr_Occurred() ? NULL : none();
    if (!has_form(arguments[0], &values, 'd', -1, 0))
        return none();
    Py_ssize_t count = values.len / 8;
    if (has_form(arguments[1], &rejected, '?', count, 0)) {
        double kept[MOST_RANKED];
        found = least_of(values.buf, rejected.buf, (long)count, (long)room, positions, kept);
        PyBuffer_Release(&rejected);
    }
    PyBuffer_Release(&values);
    return found < 0 ? none() : list_of(positions, found);
}

/* What choose() is given: arrays of the cards, and where it writes. */
enum { CHOICE_QUALITY, CHOICE_COST, CHOICE_MEAN, CHOICE_DEVIATION, CHOICE_ARRAYS };

/* choose((quality, cost in USD, mean quality, independent deviation, each (n,)), parts after loss and cost (n,) …: tuple,
 *        weight of the loss, USD of a mistake, rejected bool (n,), out (5, n), count up to MOST_RANKED) -> the positions
 * of the best cards, as by first_of(), after that of the card with the least safe score, -1 where all are rejected. None
 * where a cost is unknown or the arrays have another form. `out` has loss, cost, score, uncertainty and safe score, as by
 * loss_and_cost() and totals(). */
static PyObject *choose(PyObject *module, PyObject *const *arguments, Py_ssize_t given)
{
    (void)module;
    if (!has_arguments(given, 7))
        return NULL;
    double weight = PyFloat_AsDouble(arguments[2]), mistake = PyFloat_AsDouble(arguments[3]);
    if (PyErr_Occurred())
        return NULL;
    if (!is_a(arguments[0], TUPLE) || PyTuple_Size(arguments[0]) != CHOICE_ARRAYS || !is_a(arguments[1], TUPLE)) {
        PyErr_SetString(PyExc_TypeError, "the forecasts are no tuple of this length, or the parts are no tuple");
        return NULL;
    }
    Py_buffer buffers[CHOICE_ARRAYS + 2], part;
    Py_ssize_t count = -1, found = -1, parts = PyTuple_Size(arguments[1]), room = PyLong_AsSsize_t(arguments[6]);
    int64_t positions[1 + MOST_RANKED];
    if (room < 0 || room > MOST_RANKED)
        return PyErr_Occurred() ? NULL : none();
    int got = 0, fits = 1;
    for (int i = 0; fits && i < CHOICE_ARRAYS; i++) {
        fits = has_form(PyTuple_GetItem(arguments[0], i), &buffers[got], 'd', count, 0) && ++got;
        if (fits)
            count = buffers[0].len / 8;
    }
    fits = fits && has_form(arguments[4], &buffers[got], '?', count, 0) && ++got;
    fits = fits && has_form(arguments[5], &buffers[got], 'd', 5 * count, PyBUF_WRITABLE) && ++got;
    if (fits) {
        const unsigned char *rejected = buffers[CHOICE_ARRAYS].buf;
        double *restrict loss = buffers[CHOICE_ARRAYS + 1].buf, *restrict score = loss + 2 * count;
        double *restrict uncertainty = score + count, *restrict safe = score + 2 * count, kept[MOST_RANKED];
        fits = losses_and_shares(buffers[CHOICE_QUALITY].buf, buffers[CHOICE_COST].buf, count, weight, mistake, loss);
        if (fits) {
            const double *share = loss + count;
            begin_totals(buffers[CHOICE_MEAN].buf, buffers[CHOICE_DEVIATION].buf, count, weight, uncertainty, safe);
            for (Py_ssize_t i = 0; i < count; i++) {
                score[i] = loss[i] + share[i];
                safe[i] += share[i];
            }
            for (Py_ssize_t number = 0; fits && number < parts; number++) {
                if (!(fits = has_form(PyTuple_GetItem(arguments[1], number), &part, 'd', count, 0)))
                    break;
                const double *values = part.buf;
                for (Py_ssize_t i = 0; i < count; i++) {
                    score[i] += values[i];
                    safe[i] += values[i];
                }
                PyBuffer_Release(&part);
            }
        }
        if (fits) {
            for (Py_ssize_t i = 0; i < count; i++)
                safe[i] += uncertainty[i];
            if (!least_of(safe, rejected, (long)count, 1, positions, kept))
                positions[0] = -1;
            found = least_of(score, rejected, (long)count, (long)room, positions + 1, kept);
        }
    }
    for (int i = 0; i < got; i++)
        PyBuffer_Release(&buffers[i]);
    return found < 0 ? none() : list_of(positions, 1 + found);
}

#endif
