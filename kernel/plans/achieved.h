/* What plans are expected to achieve: 0 where Python has to say what is wrong. router/decide/plans/forecast/ is the
 * specification. */
#ifndef PULVINAR_ACHIEVED_H
#define PULVINAR_ACHIEVED_H

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

#endif
