/* The stage of plans. */

/* Whether a plan fits: its members, the calls that it makes at most, and its tables. */
static int plan_fits(const Plans *plans, const int64_t *plan, Py_ssize_t stated, Py_ssize_t tables)
{
    int64_t kind = plan[PLAN_KIND], members = plan[STATED_MEMBERS], times = plan[TIMES], once = plan[AT_ONCE], calls = 0;
    int64_t has_writer = kind == PANEL;
    if (kind < 0 || kind >= PLAN_KINDS || members < 1 || members > MOST_CALLS || plan[STATED] < 0 ||
        plan[STATED] > stated - members - has_writer || plan[TABLES] < 0 || plan[TABLES] > tables)
        return 0;
    int64_t room = tables - plan[TABLES];
    for (int64_t i = 0; i < members + has_writer; i++) {
        const int64_t *member = plans->stated + (plan[STATED] + i) * STATED_INTEGERS;
        int is_card = member[STATED_CARD] >= 0;
        if (member[STATED_CARD] >= plans->cards || member[STATED_LIMITS] < 0 || member[STATED_LIMITS] >= plans->masks ||
            (!is_card && (member[STATED_BEST] < 1 || member[STATED_BEST] > MOST_CALLS)) ||
            (i == members && !is_card && member[STATED_BEST] != 1))
            return 0;
        calls += is_card ? 1 : member[STATED_BEST];
    }
    if (calls > MOST_CALLS)
        return 0;
    if (kind == COMMITTEE)
        return calls <= MOST_VOTERS && room >= calls * (1 << calls) * (1 + 3 * calls);
    if (kind == SAMPLES)
        return calls == 1 && times >= 1 && times <= MOST_CALLS && once >= 1 && once <= times && plan[PARALLEL] >= 1 &&
               plan[PARALLEL] <= MOST_CALLS && room >= (1 + times - once) * (times + 1) + 2;
    return kind != REROUTE || (calls >= 2 && times >= 1 && times < MOST_CALLS);
}

/* Plans(models int64 (cards,), number of limits, plans int64 (plans, PLAN_INTEGERS), numbers float64 (plans,
 *       PLAN_NUMBERS), stated members int64 (members, STATED_INTEGERS), tables float64, constants float64, points of the
 *       normal distribution and its values there, nodes of the quadrature and their weights, qualities and the latent
 *       correlations there) */
static PyObject *plans_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    PyObject *models, *plan, *numbers, *stated, *tables, *constants, *grid, *cdf, *nodes, *weights, *qualities, *latents;
    Py_ssize_t masks;
    (void)keywords;
    if (!PyArg_ParseTuple(arguments, "OnOOOOOOOOOOO", &models, &masks, &plan, &numbers, &stated, &tables, &constants,
                          &grid, &cdf, &nodes, &weights, &qualities, &latents))
        return NULL;
    Stage *self = new_stage(type);
    if (self == NULL)
        return NULL;
    Plans *plans = &self->as.plans;
    if ((plans->models = bind(self, models, 'q', -1)) == NULL)
        return refuse(self, "");
    plans->cards = (long)bound_count(self);
    plans->masks = (long)masks;
    if (masks < 1 || masks > MOST_MASKS)
        return refuse(self, "the number of limits is out of range");
    if ((plans->plan = bind(self, plan, 'q', -1)) == NULL)
        return refuse(self, "");
    plans->plans = (long)(bound_count(self) / PLAN_INTEGERS);
    if (bound_count(self) != (Py_ssize_t)plans->plans * PLAN_INTEGERS)
        return refuse(self, "the plans are no rows");
    if ((plans->numbers = bind(self, numbers, 'd', (Py_ssize_t)plans->plans * PLAN_NUMBERS)) == NULL ||
        (plans->stated = bind(self, stated, 'q', -1)) == NULL)
        return refuse(self, "");
    Py_ssize_t of_stated = bound_count(self) / STATED_INTEGERS;
    if ((plans->tables = bind(self, tables, 'd', -1)) == NULL)
        return refuse(self, "");
    Py_ssize_t of_tables = bound_count(self);
    for (long i = 0; i < plans->plans; i++)
        if (!plan_fits(plans, plans->plan + i * PLAN_INTEGERS, of_stated, of_tables))
            return refuse(self, "a plan does not fit its members or tables");
    if ((plans->constants = bind(self, constants, 'd', PLAN_CONSTANTS)) == NULL ||
        (plans->grid = bind(self, grid, 'd', -1)) == NULL)
        return refuse(self, "");
    plans->points = (long)bound_count(self);
    if ((plans->cdf = bind(self, cdf, 'd', plans->points)) == NULL || (plans->node = bind(self, nodes, 'd', -1)) == NULL)
        return refuse(self, "");
    plans->nodes = (long)bound_count(self);
    if ((plans->node_weight = bind(self, weights, 'd', plans->nodes)) == NULL ||
        (plans->latent_at = bind(self, qualities, 'd', -1)) == NULL)
        return refuse(self, "");
    plans->latents = (long)bound_count(self);
    if ((plans->latent = bind(self, latents, 'd', plans->latents)) == NULL)
        return refuse(self, "");
    if (plans->points < 2 || plans->nodes < 1 || plans->nodes > MOST_NODES || plans->latents < 1)
        return refuse(self, "the tables of the normal distribution are out of range");
    return (PyObject *)self;
}

/* expected(numbers of plans: tuple, score (cards,), rejected bool (limits, cards), (quality, mean quality, compared
 *          quality, deviation, independent deviation, cost, time to the first token, latency, written tokens, counted
 *          cost, price of a million tokens of input: each (cards,)), and five numbers of Money) -> list of `planned`;
 *          None where the arrays have another form */
static PyObject *plans_expected(PyObject *object, PyObject *const *arguments, Py_ssize_t given)
{
    const Plans *plans = &((const Stage *)object)->as.plans;
    Py_buffer buffers[2 + PLAN_ARRAYS];
    Asking asking;
    double numbers[5];
    int got = 0, made = 1;
    if (!has_arguments(given, 9))
        return NULL;
    for (int i = 0; i < 5; i++) {
        numbers[i] = PyFloat_AsDouble(arguments[4 + i]);
        if (numbers[i] == -1.0 && PyErr_Occurred())
            return NULL;
    }
    if (!is_a(arguments[0], TUPLE) || !is_a(arguments[3], TUPLE) || PyTuple_Size(arguments[3]) != PLAN_ARRAYS) {
        PyErr_SetString(PyExc_TypeError, "the plans or the forecasts are no tuple of this length");
        return NULL;
    }
    asking.money = (Money){numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]};
    for (int i = 0; i < MOST_MASKS; i++)
        asking.listed[i] = -1;
    int fits = has_form(arguments[1], &buffers[got], 'd', plans->cards, 0) && ++got;
    fits = fits && has_form(arguments[2], &buffers[got], '?', (Py_ssize_t)plans->masks * plans->cards, 0) && ++got;
    for (int i = 0; fits && i < PLAN_ARRAYS; i++)
        fits = has_form(PyTuple_GetItem(arguments[3], i), &buffers[got], 'd', plans->cards, 0) && ++got;
    PyObject *result = fits ? PyList_New(0) : NULL;
    if (fits) {
        asking.score = buffers[0].buf;
        asking.rejected = buffers[1].buf;
        for (int i = 0; i < PLAN_ARRAYS; i++)
            asking.of_cards[i] = buffers[2 + i].buf;
        made = result != NULL;
        for (Py_ssize_t i = 0; made && i < PyTuple_Size(arguments[0]); i++) {
            Py_ssize_t number = PyLong_AsSsize_t(PyTuple_GetItem(arguments[0], i));
            if (number < 0 || number >= plans->plans) {
                if (!PyErr_Occurred())
                    PyErr_SetString(PyExc_ValueError, "there is no such plan");
                made = 0;
                break;
            }
            PyObject *found = planned(plans, &asking, (long)number);
            made = found != NULL && PyList_Append(result, found) == 0;
            if (found != NULL)
                Py_DecRef(found);
        }
    }
    for (int i = 0; i < got; i++)
        PyBuffer_Release(&buffers[i]);
    if (!fits)
        return none();
    if (!made && result != NULL)
        Py_DecRef(result);
    return made ? result : NULL;
}
