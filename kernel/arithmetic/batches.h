/* Steps of many prompts at once, for training: the same arithmetic as in project(). Compiled once for every instruction
 * set, after arithmetic.h. */

/* Rows of `count` cosines to similarities, in place; skills.py is the specification. */
static void ISA(similarities)(double *cosines, long rows, long count, double sharpness, const float *center,
                              const float *scale)
{
    for (long row = 0; row < rows; row++, cosines += count) {
        double nearest = -HUGE_VAL;
        long i = 0;
        for (; i < count; i++)
            nearest = cosines[i] > nearest ? cosines[i] : nearest;
        for (i = 0; i + 4 <= count; i += 4) {
            double4 lanes;
            LOAD4(lanes, cosines + i);
            lanes = (lanes - ALL4(nearest)) * ALL4(sharpness);
            EXP4(lanes);
            STORE4(cosines + i, lanes);
        }
        for (; i < count; i++)
            cosines[i] = exp_of((cosines[i] - nearest) * sharpness);
        double whole = sum_of_doubles(cosines, count);
        for (i = 0; i < count; i++) {
            double value = (cosines[i] / whole - (double)center[i]) / (double)scale[i];
            value = value > -8.0 ? value : -8.0;
            cosines[i] = value < 8.0 ? value : 8.0;
        }
    }
}

static const Batches ISA(batches) = {ISA(similarities), ISA(in_order_of_floats)};
