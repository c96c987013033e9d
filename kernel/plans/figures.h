/* The figures of a plan: quality, deviation, cost and times. router/decide/plans/outlook.py (figures_of) is the
 * specification. */
#ifndef PULVINAR_FIGURES_H
#define PULVINAR_FIGURES_H

static void set_columns(Planned *plan, int *compares)
{
    size_t size = (size_t)plan->asked * sizeof(double);
    *compares = 0;
    for (int call = 0; call < plan->asked; call++)
        *compares |= plan->of[CALL_COMPARED][call] != plan->of[CALL_QUALITY][call];
    memcpy(plan->column[0], plan->of[CALL_QUALITY], size);
    memcpy(plan->column[1], plan->of[CALL_MEAN], size);
    memcpy(plan->column[2], plan->of[CALL_COMPARED], size);
    plan->columns = 2 + *compares;
    for (int call = 0; call < plan->asked; call++, plan->columns++) {
        plan->step[call] = plan->of[CALL_QUALITY][call] > 0.5 ? -0.01 : 0.01;
        memcpy(plan->column[plan->columns], plan->of[CALL_QUALITY], size);
        plan->column[plan->columns][call] += plan->step[call];
    }
}

/* The standard deviation of the plan's quality, and its part that cards do not share. */
static void deviations(const Planned *plan, double *all, double *independent)
{
    double error = plan->plans->constants[FORM_ERROR], own = error * error, shared = 0.0;
    const double *changed = plan->quality + plan->columns - plan->asked;
    for (int call = 0; call < plan->asked; call++) {
        double gradient = (changed[call] - plan->quality[0]) / plan->step[call];
        if (gradient > 0.0) {
            double std = plan->of[CALL_STD][call], alone = plan->of[CALL_INDEPENDENT][call];
            gradient = gradient < 1.0 ? gradient : 1.0;
            own += (gradient * alone) * (gradient * alone);
            double common = std * std - alone * alone;
            shared += gradient * sqrt(common > 0.0 ? common : 0.0);
        }
    }
    *all = sqrt(own + shared * shared);
    *independent = sqrt(own);
}

/* Expected latency, the longest path, and the time to the first token on it. */
static void times(const Planned *plan, double *expected, double *longest, double *first)
{
    const double *latency = plan->of[CALL_LATENCY], *ttft = plan->of[CALL_TTFT];
    int calls = plan->calls, once = (int)plan->plan[AT_ONCE], handovers = (int)plan->plan[TIMES];
    *expected = products(plan->reach, latency, calls);
    *longest = *first = in_turn(latency, calls);
    switch (plan->plan[PLAN_KIND]) {
    case CASCADE:
        *first = in_turn(latency, calls - 1) + ttft[calls - 1];
        return;
    case PANEL:
        *first = greatest_of(latency, calls - 1);
        *expected = *longest = *first + latency[calls - 1];
        *first += ttft[calls - 1];
        return;
    case BEST_OF:
        if (plan->plan[PARALLEL])
            *expected = *longest = *first = greatest_of(latency, calls);
        return;
    case SAMPLES: {
        int at_a_time = (int)plan->plan[PARALLEL], rounds = (once + at_a_time - 1) / at_a_time;
        double each = greatest_of(latency, calls);
        *longest = *first = (double)(rounds + calls - once) * each;
        *expected = ((double)rounds + in_turn(plan->reach + once, calls - once)) * each;
        return;
    }
    case REROUTE:
        *longest = most_of(handovers, latency, calls);
        *first = most_of(handovers - 1, latency, calls) + greatest_of(ttft + 1, calls - 1);
    }
}

static int64_t answerer_of(const Planned *plan)
{
    if (plan->plan[PLAN_KIND] == PANEL)
        return plan->card[plan->calls - 1];
    int first = 0;
    double most = 0.0;
    for (int call = 0; plan->plan[PLAN_KIND] == CASCADE && call < plan->calls; call++) {
        double delivers = plan->reach[call] - (call < plan->calls - 1 ? plan->reach[call + 1] : 0.0);
        if (call == 0 || delivers > most) {
            most = delivers;
            first = call;
        }
    }
    return plan->card[first];
}

/* What is expected of each call; of a writer also what it reads. */
static void set_calls(Planned *plan, const Asking *asking)
{
    for (int column = 0; column < CALL_COLUMNS; column++)
        for (int call = 0; call < plan->calls; call++) {
            double value = asking->of_cards[column][plan->card[call]];
            plan->of[column][call] = column <= CALL_INDEPENDENT && value != value ? 0.0 : value;
        }
    if (plan->plan[PLAN_KIND] == PANEL) {
        int writer = plan->calls - 1;
        double usd = asking->of_cards[INPUT_PRICE][plan->card[writer]];
        double reading = in_turn(plan->of[CALL_WRITTEN], writer) * usd / 1e6;
        plan->of[CALL_COST][writer] += reading;
        plan->of[CALL_COUNTED][writer] += reading == reading ? reading : 0.0;
    }
}

enum { FIGURES = 13 };

/* The first fields of Figures; 0 where Python has to say what is wrong. */
static int set_figures(Planned *plan, const Money *money, double *figures)
{
    const double *counted = plan->of[CALL_COUNTED];
    int compares, kind = (int)plan->plan[PLAN_KIND];
    set_columns(plan, &compares);
    double value = price_at(money, counted[0]);
    if (kind == COMMITTEE)
        count_votes(plan);
    if (kind == CASCADE || kind == COMMITTEE || kind == REROUTE)
        /* The first guess is the least cost, so that more weight on money can only lower what the second gives. */
        for (int turn = money->unit > 0.0 ? 0 : 1; turn < 2; turn++) {
            for (int call = 0; call < plan->asked; call++) {
                plan->price[call] = value * counted[call];
                if (plan->price[call] != plan->price[call])
                    return 0;
            }
            if (turn == 0) {
                if (!expect(plan, 1))
                    return 0;
                value = price_at(money, products(plan->reach, counted, plan->calls));
            }
        }
    if (!expect(plan, plan->columns))
        return 0;
    for (int number = 0; number < plan->columns; number++)
        /* The root of a negative number, for which Python raises an error. */
        if (plan->quality[number] != plan->quality[number])
            return 0;
    const double *cost = plan->of[CALL_COST];
    figures[0] = plan->quality[0];
    figures[1] = plan->quality[compares ? 2 : 0];
    figures[2] = plan->quality[1];
    deviations(plan, &figures[3], &figures[4]);
    figures[5] = products(plan->reach, cost, plan->calls);
    figures[6] = products(plan->reach, counted, plan->calls);
    figures[7] = kind == REROUTE ? most_of((int)plan->plan[TIMES], cost, plan->calls) : in_turn(cost, plan->calls);
    times(plan, &figures[8], &figures[9], &figures[10]);
    figures[11] = products(plan->reach, plan->of[CALL_WRITTEN], plan->calls);
    figures[12] = value;
    return 1;
}

static PyObject *integers(const int64_t *values, int count)
{
    PyObject *tuple = PyTuple_New(count);
    for (int i = 0; tuple != NULL && i < count; i++) {
        PyObject *number = PyLong_FromSsize_t((Py_ssize_t)values[i]);
        if (number == NULL || PyTuple_SetItem(tuple, i, number) < 0) {
            Py_DecRef(tuple);
            return NULL;
        }
    }
    return tuple;
}

/* Set an item of a tuple that takes the reference; 0 with an exception. */
static int put(PyObject *tuple, Py_ssize_t place, PyObject *item)
{
    return item != NULL && PyTuple_SetItem(tuple, place, item) >= 0;
}

static PyObject *pair(PyObject *one, PyObject *other)
{
    PyObject *tuple = PyTuple_New(2);
    int made = tuple != NULL && one != NULL && other != NULL;
    if (made)
        made = put(tuple, 0, one) && put(tuple, 1, other);
    else {
        if (one != NULL)
            Py_DecRef(one);
        if (other != NULL)
            Py_DecRef(other);
    }
    if (made)
        return tuple;
    if (tuple != NULL)
        Py_DecRef(tuple);
    return NULL;
}

static PyObject *figures_tuple(const Planned *plan, const double *figures)
{
    PyObject *tuple = PyTuple_New(FIGURES + 4), *reach = PyTuple_New(plan->calls);
    int made = tuple != NULL && reach != NULL, kind = (int)plan->plan[PLAN_KIND];
    for (int i = 0; made && i < FIGURES; i++)
        made = put(tuple, i, PyFloat_FromDouble(figures[i]));
    for (int i = 0; made && i < plan->calls; i++)
        made = put(reach, i, PyFloat_FromDouble(plan->reach[i]));
    made = made && put(tuple, FIGURES, integers(plan->card, plan->calls));
    if (made) {
        made = put(tuple, FIGURES + 1, reach);
        reach = NULL;
    }
    made = made && put(tuple, FIGURES + 2, PyLong_FromSsize_t((Py_ssize_t)answerer_of(plan)));
    made = made && put(tuple, FIGURES + 3,
                       PyLong_FromSsize_t(kind == REROUTE ? 1 + (Py_ssize_t)plan->plan[TIMES] : plan->calls));
    if (made)
        return tuple;
    if (tuple != NULL)
        Py_DecRef(tuple);
    if (reach != NULL)
        Py_DecRef(reach);
    return NULL;
}

/* One plan: (its members, its figures); (its members, by how much the first leads) where it would answer alone; (which
 * stated member has too few cards, how many); None where Python has to say what is wrong. */
static PyObject *planned(const Plans *plans, Asking *asking, long number)
{
    Planned plan;
    double figures[FIGURES];
    long found = 0;
    plan.plans = plans;
    plan.plan = plans->plan + number * PLAN_INTEGERS;
    plan.numbers = plans->numbers + number * PLAN_NUMBERS;
    int kind = (int)plan.plan[PLAN_KIND];
    long stated = (long)plan.plan[STATED], members = (long)plan.plan[STATED_MEMBERS];
    plan.asked = 0;
    long missing = fill(plans, asking, stated, members, plan.card, &plan.asked, &found);
    plan.calls = plan.asked;
    if (missing < 0 && kind == PANEL && fill(plans, asking, stated + members, 1, plan.card, &plan.calls, &found) == 0)
        missing = members;
    if (missing >= 0)
        return pair(PyLong_FromSsize_t(missing), PyLong_FromSsize_t(found));
    if (kind == REROUTE) {
        double lead = by_forecast(asking, plan.card, plan.asked);
        int fails = 0;
        for (int call = 0; call < plan.asked; call++)
            fails |= asking->rejected[plan.card[call]];
        if (!(lead <= plan.numbers[MARGIN]) && !fails)
            return pair(integers(plan.card, plan.asked), PyFloat_FromDouble(lead));
    }
    if (kind == SAMPLES)
        for (plan.calls = 1; plan.calls < (int)plan.plan[TIMES]; plan.calls++)
            plan.card[plan.calls] = plan.card[0];
    set_calls(&plan, asking);
    if (!set_figures(&plan, &asking->money, figures))
        return none();
    return pair(integers(plan.card, kind == SAMPLES ? 1 : plan.calls), figures_tuple(&plan, figures));
}

#endif
