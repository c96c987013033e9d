/* What a cascade is expected to achieve. router/decide/plans/forecast/expected.py is the specification. */
#ifndef PULVINAR_CASCADE_H
#define PULVINAR_CASCADE_H

#define LEAST_CHANCE 1e-4
#define GREATEST_CHANCE (1.0 - 1e-4)

typedef struct {
    double if_right, if_wrong, density_right, density_wrong;
} Acceptance;

/* A probability within the bounds of those that are reckoned with. */
static double clipped(double p) { return p < LEAST_CHANCE ? LEAST_CHANCE : p > GREATEST_CHANCE ? GREATEST_CHANCE : p; }

/* The probabilities that a second answer is right where the first is right, and where it is wrong. */
static void conditional(double first, double second, double correlation, double *right, double *wrong)
{
    double both = first * second + correlation * sqrt(first * (1 - first) * second * (1 - second));
    both = first < both ? first : both;
    both = second < both ? second : both;
    *right = both / first;
    *wrong = (second - both) / (1.0 - first);
}

/* When a first answer is accepted; a `threshold` below 0 compares gain and price. 0 where the odds are not above 0. */
static int accept(double first, double right, double wrong, double price, double separation, double threshold,
                  Acceptance *found)
{
    static const double root = 0x1.6a09e667f3bcdp+0, density = 0x1.9884533d43651p-2;
    static const Acceptance always = {0.0, 0.0, 0.0, 0.0}, never = {1.0, 1.0, 0.0, 0.0};
    if (threshold < 0.0) {
        double slope = 1.0 - right + wrong;
        threshold = (wrong - price) / (slope > 1e-9 ? slope : 1e-9);
        if (threshold != threshold)
            return 0;
    }
    if (threshold <= 0.0)
        *found = never;
    else if (threshold >= 1.0)
        *found = always;
    else if (separation <= 0.0)
        *found = first < threshold ? always : never;
    else {
        double odds = threshold * (1.0 - first) / (first * (1.0 - threshold));
        if (!(odds > 0.0))
            return 0;
        double tau = log(odds) / separation + separation / 2.0;
        double above = (tau - separation) / root, below = tau / root;
        found->if_right = 0.5 * erfc(above);
        found->if_wrong = 0.5 * erfc(below);
        found->density_right = density * exp(-above * above);
        found->density_wrong = density * exp(-below * below);
    }
    return 1;
}

/* The quality where what is not accepted is replaced by the next answer. */
static double mixed(double first, double right, double wrong, const Acceptance *accepted)
{
    double kept = first * accepted->if_right;
    return kept + (first - kept) * right + (1.0 - first) * (1.0 - accepted->if_wrong) * wrong;
}

/* How much less the next answer achieves, because a prompt whose first answer is not accepted is harder. */
static double harder(double first, double right, double wrong, const Acceptance *accepted, double hardness)
{
    double if_right = hardness * sqrt(right * (1.0 - right)) * accepted->density_right;
    double if_wrong = hardness * sqrt(wrong * (1.0 - wrong)) * accepted->density_wrong;
    double most_right = (1.0 - accepted->if_right) * right, most_wrong = (1.0 - accepted->if_wrong) * wrong;
    if_right = most_right < if_right ? most_right : if_right;
    if_wrong = most_wrong < if_wrong ? most_wrong : if_wrong;
    return first * if_right + (1.0 - first) * if_wrong;
}

/* The quality of members in turn, and where `asked` is given the probability that each but the last is not accepted; 0
 * where Python raises an error. */
static int cascade_column(const double *column, Py_ssize_t members, const double *prices, double correlation,
                          double hardness, double separation, double threshold, double *asked, double *found)
{
    double following = clipped(column[members - 1]), quality = following;
    for (Py_ssize_t step = members - 2; step >= 0; step--) {
        double first = clipped(column[step]), right, wrong;
        Acceptance accepted;
        conditional(first, following, correlation, &right, &wrong);
        if (!accept(first, right, wrong, prices[step + 1], separation, threshold, &accepted))
            return 0;
        if (step < members - 2)
            conditional(first, clipped(quality), correlation, &right, &wrong);
        quality = mixed(first, right, wrong, &accepted) - harder(first, right, wrong, &accepted, hardness);
        /* The root of a negative number, for which Python raises an error. */
        if (quality != quality)
            return 0;
        if (asked != NULL)
            asked[step] = 1.0 - first * accepted.if_right - (1.0 - first) * accepted.if_wrong;
        following = first;
    }
    *found = quality;
    return 1;
}

/* The numbers of a tuple or list; -1 without an exception for another object, another item, or too many. */
static Py_ssize_t floats_of(PyObject *object, double *out)
{
    int is_list = is_a(object, LIST);
    if (!is_list && !is_a(object, TUPLE))
        return -1;
    Py_ssize_t count = is_list ? PyList_Size(object) : PyTuple_Size(object);
    if (count > MOST_CALLS)
        return -1;
    for (Py_ssize_t i = 0; i < count; i++) {
        out[i] = PyFloat_AsDouble(is_list ? PyList_GetItem(object, i) : PyTuple_GetItem(object, i));
        if (out[i] != out[i] || (out[i] == -1.0 && PyErr_Occurred())) {
            PyErr_Clear();
            return -1;
        }
    }
    return count;
}

/* Append a float; 0 with an exception. */
static int append(PyObject *list, double value)
{
    PyObject *number = PyFloat_FromDouble(value);
    int failed = number == NULL || PyList_Append(list, number) < 0;
    if (number != NULL)
        Py_DecRef(number);
    return !failed;
}

/* cascade(columns: list of floats of each member, prices, correlation, hardness, separation, threshold or -1) -> list
 * of the quality for each column, then the probabilities of the calls; None for other arguments. */
static PyObject *cascade(PyObject *module, PyObject *const *arguments, Py_ssize_t given)
{
    (void)module;
    if (!has_arguments(given, 6))
        return NULL;
    double numbers[4], prices[MOST_CALLS], column[MOST_CALLS], asked[MOST_CALLS];
    for (int i = 0; i < 4; i++) {
        numbers[i] = PyFloat_AsDouble(arguments[2 + i]);
        if (numbers[i] == -1.0 && PyErr_Occurred())
            return NULL;
    }
    Py_ssize_t members = floats_of(arguments[1], prices), columns = is_a(arguments[0], LIST) ? PyList_Size(arguments[0]) : -1;
    if (members < 1 || columns < 1)
        return none();
    PyObject *result = PyList_New(0);
    int known = 1, made = result != NULL;
    for (Py_ssize_t number = 0; known && made && number < columns; number++) {
        double quality;
        known = floats_of(PyList_GetItem(arguments[0], number), column) == members &&
                cascade_column(column, members, prices, numbers[0], numbers[1], numbers[2], numbers[3],
                               number == 0 ? asked : NULL, &quality);
        if (!known)
            break;
        made = append(result, quality);
    }
    double reach = 1.0;
    for (Py_ssize_t call = 0; known && made && call < members; call++) {
        made = append(result, reach);
        reach *= call < members - 1 ? asked[call] : 1.0;
    }
    if (known && made)
        return result;
    if (result != NULL)
        Py_DecRef(result);
    return made ? none() : NULL;
}

#endif
