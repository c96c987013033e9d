/* What plans are expected to achieve and to cost, and which cards are their members. router/decide/plans/members.py
 * (Chooser), outlook.py (figures_of) and forecast/ are the specification. */
#ifndef PULVINAR_FIGURES_H
#define PULVINAR_FIGURES_H

enum { MOST_AHEAD = 32 };
/* What is expected of calls; the last one is the price of a million tokens of input. */
enum { CALL_QUALITY, CALL_MEAN, CALL_COMPARED, CALL_STD, CALL_INDEPENDENT, CALL_COST, CALL_TTFT, CALL_LATENCY,
       CALL_WRITTEN, CALL_COUNTED, CALL_COLUMNS, INPUT_PRICE = CALL_COLUMNS, PLAN_ARRAYS };
/* The plan's quality for each column: expected, on an average prompt, compared, then with each member changed. */
enum { MOST_CHANGED = 3 + MOST_CALLS };

/* λ in quality per dollar: without a `unit` the same at every cost. */
typedef struct {
    double constant, cheapest, loss, unit, width;
} Money;

/* One request. `ahead` has the best cards that pass each set of limits, where `listed` is not -1. */
typedef struct {
    const double *score, *of_cards[PLAN_ARRAYS];
    const unsigned char *rejected;
    Money money;
    int64_t ahead[MOST_MASKS][MOST_AHEAD];
    long listed[MOST_MASKS];
} Asking;

typedef struct {
    const Plans *plans;
    const int64_t *plan;
    const double *numbers;
    /* Members that answer, and calls: those of a writer, or several of one card, come after them. */
    int asked, calls, columns;
    int64_t card[MOST_CALLS];
    double of[CALL_COLUMNS][MOST_CALLS], column[MOST_CHANGED][MOST_CALLS], step[MOST_CALLS];
    double quality[MOST_CHANGED], reach[MOST_CALLS], price[MOST_CALLS];
    double joint[MOST_CHANGED][1 + 3 * MOST_VOTERS], first[MOST_CHANGED];
} Planned;

static double in_turn(const double *values, int count)
{
    double sum = 0.0;
    for (int i = 0; i < count; i++)
        sum += values[i];
    return sum;
}

static double products(const double *one, const double *other, int count)
{
    double sum = 0.0;
    for (int i = 0; i < count; i++)
        sum += one[i] * other[i];
    return sum;
}

static double greatest_of(const double *values, int count)
{
    double greatest = values[0];
    for (int i = 0; i < count; i++) {
        if (values[i] != values[i])
            return values[i];
        if (values[i] > greatest)
            greatest = values[i];
    }
    return greatest;
}

/* The first value, and so many of the greatest others. */
static double most_of(int later, const double *values, int count)
{
    double sorted[MOST_CALLS];
    for (int i = 0; i < count; i++) {
        int place = i;
        if (values[i] != values[i])
            return values[i];
        for (; place > 1 && values[i] > sorted[place - 1]; place--)
            sorted[place] = sorted[place - 1];
        sorted[place] = values[i];
    }
    return values[0] + in_turn(sorted + 1, later < count - 1 ? later : count - 1);
}

static double price_at(const Money *money, double usd)
{
    if (!(money->unit > 0.0))
        return money->constant / money->loss;
    return (money->constant + money->cheapest * (1.0 / ((money->unit + usd) * money->width))) / money->loss;
}

/* ---- members -------------------------------------------------------------------------------------------------------- */

static int is_taken(const Plans *plans, int64_t card, const int64_t *taken, int count)
{
    for (int i = 0; i < count; i++)
        if (plans->models[taken[i]] == plans->models[card])
            return 1;
    return 0;
}

/* Append the cards of stated members, none of the same model as another; -1, or which member has too few (`found`). */
static long fill(const Plans *plans, Asking *asking, long stated, long members, int64_t *calls, int *count, long *found)
{
    const int64_t *member = plans->stated + stated * STATED_INTEGERS;
    int64_t taken[2 * MOST_CALLS];
    int known = 0;
    for (long i = 0; i < members; i++)
        if (member[i * STATED_INTEGERS + STATED_CARD] >= 0)
            taken[known++] = member[i * STATED_INTEGERS + STATED_CARD];
    for (long i = 0; i < members; i++, member += STATED_INTEGERS) {
        if (member[STATED_CARD] >= 0) {
            calls[(*count)++] = member[STATED_CARD];
            continue;
        }
        long mask = (long)member[STATED_LIMITS], wanted = (long)member[STATED_BEST];
        const unsigned char *rejected = asking->rejected + mask * plans->cards;
        double kept[MOST_AHEAD];
        if (asking->listed[mask] < 0)
            asking->listed[mask] = least_of(asking->score, rejected, plans->cards, MOST_AHEAD, asking->ahead[mask], kept);
        *found = 0;
        for (long place = 0; place < asking->listed[mask] && *found < wanted; place++) {
            int64_t card = asking->ahead[mask][place];
            if (is_taken(plans, card, taken, known))
                continue;
            taken[known++] = calls[(*count)++] = card;
            ++*found;
        }
        /* Beyond the listed ones, one after the other. */
        while (*found < wanted && asking->listed[mask] == MOST_AHEAD) {
            int64_t best = -1;
            for (long card = 0; card < plans->cards; card++)
                if (!rejected[card] && (best < 0 || precedes(asking->score[card], asking->score[best])) &&
                    !is_taken(plans, card, taken, known))
                    best = card;
            if (best < 0)
                break;
            taken[known++] = calls[(*count)++] = best;
            ++*found;
        }
        if (*found < wanted)
            return i;
    }
    return -1;
}

/* The members with the best forecast first; returns by how much the first one leads. */
static double by_forecast(const Asking *asking, int64_t *calls, int count)
{
    double quality[MOST_CALLS];
    for (int i = 0; i < count; i++) {
        int64_t card = calls[i];
        double known = asking->of_cards[CALL_QUALITY][card];
        known = known == known ? known : 0.0;
        int place = i;
        for (; place > 0 && known > quality[place - 1]; place--) {
            quality[place] = quality[place - 1];
            calls[place] = calls[place - 1];
        }
        quality[place] = known;
        calls[place] = card;
    }
    return quality[0] - quality[1];
}

/* ---- what kinds of plans achieve: 0 where Python has to say what is wrong ------------------------------------------------ */

static int expect_cascade(Planned *plan, int columns)
{
    const double *constants = plan->plans->constants;
    double asked[MOST_CALLS], reach = 1.0;
    for (int number = 0; number < columns; number++)
        if (!cascade_column(plan->column[number], plan->asked, plan->price, constants[CORRELATION], constants[HARDNESS],
                            plan->numbers[SEPARATION], plan->numbers[THRESHOLD], number == 0 ? asked : NULL,
                            &plan->quality[number]))
            return 0;
    for (int call = 0; call < plan->asked; call++) {
        plan->reach[call] = reach;
        reach *= call < plan->asked - 1 ? asked[call] : 1.0;
    }
    return 1;
}

/* Φ on the grid of equal steps. */
static double normal_of(const Plans *plans, double x)
{
    const double *grid = plans->grid, *cdf = plans->cdf;
    if (!(x > grid[0]))
        return cdf[0];
    if (!(x < grid[plans->points - 1]))
        return cdf[plans->points - 1];
    double place = (x - grid[0]) / (grid[plans->points - 1] - grid[0]) * (double)(plans->points - 1);
    long low = place > 0.0 && place < (double)(plans->points - 1) ? (long)place : 0;
    while (low > 0 && grid[low] > x)
        low--;
    while (low < plans->points - 2 && grid[low + 1] <= x)
        low++;
    double slope = (cdf[low + 1] - cdf[low]) / (grid[low + 1] - grid[low]);
    return cdf[low] + slope * (x - grid[low]);
}

/* The chances of all patterns of right and wrong members in each column, multiplied by what the vote comes to. */
static void count_votes(Planned *plan)
{
    const Plans *plans = plan->plans;
    int members = plan->asked, patterns = 1 << members, sums = 1 + 3 * members, strongest = 0;
    double mean = 0.0, chance[MOST_VOTERS];
    double wrong[MOST_NODES][MOST_VOTERS], expected[MOST_NODES][MOST_VOTERS];
    for (int member = 1; member < members; member++)
        if (plan->column[0][member] > plan->column[0][strongest])
            strongest = member;
    const double *weights = plans->tables + plan->plan[TABLES] + (long)strongest * patterns * sums;
    for (int member = 0; member < members; member++)
        mean += clipped(plan->column[0][member]);
    mean /= members;
    double latent = interpolated(mean > 1.0 - mean ? mean : 1.0 - mean, plans->latent_at, plans->latent, plans->latents);
    double spread = sqrt(latent), rest = -sqrt(1.0 - latent);
    for (int number = 0; number < plan->columns; number++) {
        double joint[1 << MOST_VOTERS], states[1 << MOST_VOTERS];
        for (int member = 0; member < members; member++) {
            chance[member] = clipped(plan->column[number][member]);
            /* Of the further columns each changes one member. */
            if (number && plan->column[number][member] == plan->column[0][member]) {
                for (long node = 0; node < plans->nodes; node++)
                    wrong[node][member] = expected[node][member];
                continue;
            }
            double quantile = interpolated(chance[member], plans->cdf, plans->grid, plans->points), on_average = 0.0;
            for (long node = 0; node < plans->nodes; node++) {
                wrong[node][member] = normal_of(plans, (quantile + spread * plans->node[node]) / rest);
                on_average += plans->node_weight[node] * wrong[node][member];
            }
            /* The quadrature is exact on average. */
            double scale = (1.0 - chance[member]) / on_average;
            for (long node = 0; node < plans->nodes; node++)
                wrong[node][member] *= scale;
        }
        if (number == 0)
            memcpy(expected, wrong, sizeof expected);
        for (long node = 0; node < plans->nodes; node++) {
            int made = 1;
            for (int member = 0; member < members; member++) {
                double is_wrong = wrong[node][member] < 1.0 ? wrong[node][member] : 1.0, is_right = 1.0 - is_wrong;
                for (int pattern = made - 1; pattern >= 0; pattern--) {
                    double before = member ? states[pattern] : 1.0;
                    states[2 * pattern] = before * is_right;
                    states[2 * pattern + 1] = before * is_wrong;
                }
                made *= 2;
            }
            for (int pattern = 0; pattern < patterns; pattern++) {
                double part = plans->node_weight[node] * states[pattern];
                joint[pattern] = node ? joint[pattern] + part : part;
            }
        }
        plan->first[number] = chance[0];
        double *sum = plan->joint[number];
        for (int column = 0; column < sums; column++)
            sum[column] = joint[0] * weights[column];
        for (int pattern = 1; pattern < patterns; pattern++)
            for (int column = 0; column < sums; column++)
                sum[column] += joint[pattern] * weights[pattern * sums + column];
    }
}

static int expect_committee(Planned *plan, int columns)
{
    double readable = plan->plans->constants[READABLE];
    int members = plan->asked;
    for (int number = 0; number < columns; number++) {
        const double *later = plan->joint[number], *right = later + members - 1, *wrong = later + 2 * members;
        double first = plan->first[number], given_right = right[0] / first, given_wrong = wrong[0] / (1.0 - first);
        Acceptance accepted;
        if (!accept(first, given_right, given_wrong, products(later, plan->price + 1, members - 1),
                    plan->numbers[SEPARATION], plan->numbers[THRESHOLD], &accepted))
            return 0;
        double voted = mixed(first, given_right, given_wrong, &accepted);
        plan->quality[number] = readable * voted + (1.0 - readable) * first;
        if (number == 0) {
            double after_right = readable * (1.0 - accepted.if_right), after_wrong = readable * (1.0 - accepted.if_wrong);
            plan->reach[0] = 1.0;
            for (int call = 1; call < members; call++) {
                double made = after_right * right[1 + call] + after_wrong * wrong[1 + call];
                plan->reach[call] = made > 1.0 ? 1.0 : made;
            }
        }
    }
    return 1;
}

/* The products of `start`, `start + 1` … of every length. */
static void rising(double start, int count, double *out)
{
    out[0] = 1.0;
    for (int step = 0; step < count; step++)
        out[step + 1] = out[step] * (start + step);
}

static int expect_samples(Planned *plan)
{
    int n = (int)plan->plan[TIMES], at_once = (int)plan->plan[AT_ONCE];
    const double *vote = plan->plans->tables + plan->plan[TABLES], *made = vote + n + 1;
    double size = made[(n - at_once) * (n + 1)], whole = made[(n - at_once) * (n + 1) + 1];
    double readable = plan->plans->constants[READABLE];
    for (int number = 0; number < plan->columns; number++) {
        double first = clipped(plan->column[number][0]), right[MOST_CALLS + 1], wrong[MOST_CALLS + 1];
        rising(first * size, n, right);
        rising((1.0 - first) * size, n, wrong);
        for (int count = 0; count <= n; count++)
            right[count] = right[count] * wrong[n - count] / whole;
        plan->quality[number] = readable * products(right, vote, n + 1) + (1.0 - readable) * first;
        for (int call = 0; number == 0 && call < n; call++) {
            double chance = call < at_once ? 1.0 : readable * products(right, made + (call - at_once) * (n + 1), n + 1);
            plan->reach[call] = chance > 1.0 ? 1.0 : chance;
        }
    }
    return 1;
}

static int expect_best_of(Planned *plan)
{
    double caught = plan->numbers[CAUGHT], reach = 1.0;
    Acceptance accepted = {1.0, 1.0 - caught, 0.0, 0.0};
    for (int number = 0; number < plan->columns; number++) {
        const double *column = plan->column[number];
        double quality = clipped(column[plan->asked - 1]), right, wrong;
        for (int step = plan->asked - 2; step >= 0; step--) {
            double first = clipped(column[step]);
            conditional(first, clipped(quality), plan->plans->constants[CORRELATION], &right, &wrong);
            quality = mixed(first, right, wrong, &accepted);
        }
        plan->quality[number] = quality;
    }
    for (int call = 0; call < plan->asked; call++) {
        plan->reach[call] = plan->plan[PARALLEL] ? 1.0 : reach;
        reach *= (1.0 - clipped(plan->column[0][call])) * caught;
    }
    return 1;
}

static int expect_panel(Planned *plan)
{
    for (int number = 0; number < plan->columns; number++)
        plan->quality[number] = greatest_of(plan->column[number], plan->asked);
    for (int call = 0; call < plan->calls; call++)
        plan->reach[call] = 1.0;
    return 1;
}

static int expect_reroute(Planned *plan, int columns)
{
    static const double root = 0x1.6a09e667f3bcdp+0;
    const double *member = plan->column[0];
    double over[MOST_CALLS], margin = plan->numbers[MARGIN], kept = 1.0;
    for (int call = 1; call < plan->asked; call++) {
        double least = plan->price[call] > margin ? plan->price[call] : margin;
        over[call] = 0.5 * erfc((member[0] - member[call] + least) / (plan->plans->constants[MOVED] * root));
        kept *= 1.0 - over[call];
    }
    double total = in_turn(over + 1, plan->asked - 1), once = 1.0 - kept;
    double calls = plan->plan[TIMES] > 1 ? once + once * once : once;
    plan->reach[0] = 1.0;
    for (int call = 1; call < plan->asked; call++) {
        double chance = total != 0.0 ? calls * over[call] / total : 0.0;
        plan->reach[call] = chance > 1.0 ? 1.0 : chance;
    }
    for (int number = 0; number < columns; number++)
        plan->quality[number] = plan->column[number][0];
    return 1;
}

static int expect(Planned *plan, int columns)
{
    switch (plan->plan[PLAN_KIND]) {
    case CASCADE:
        return expect_cascade(plan, columns);
    case COMMITTEE:
        return expect_committee(plan, columns);
    case SAMPLES:
        return expect_samples(plan);
    case BEST_OF:
        return expect_best_of(plan);
    case PANEL:
        return expect_panel(plan);
    default:
        return expect_reroute(plan, columns);
    }
}

/* ---- figures ---------------------------------------------------------------------------------------------------------------- */

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
