/* The members of a plan: the cards that are best for it. router/decide/plans/members.py (Chooser) is the specification. */
#ifndef PULVINAR_MEMBERS_H
#define PULVINAR_MEMBERS_H

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

#endif
