/* Vectors of four and eight numbers, and the arithmetic whose every bit is defined.
 *
 * The vector extensions of gcc and clang are the same source for SSE2, AVX2 and NEON. A lane is a sum of its own, so
 * that the order of additions does not depend on the width of the machine's registers; products and sums are never
 * contracted (-ffp-contract=off). router/perceive/exact.py is the specification.
 */
#ifndef PULVINAR_LANES_H
#define PULVINAR_LANES_H

#include <math.h>
#include <stdint.h>
#include <string.h>

typedef double double4 __attribute__((vector_size(32)));
typedef int64_t long4 __attribute__((vector_size(32)));
typedef float float8 __attribute__((vector_size(32)));
typedef uint32_t uint32x8 __attribute__((vector_size(32)));

enum { PRODUCTS = 4 };

/* The greatest numbers of columns and terms that have buffers on the stack; binding checks them. */
enum { MOST_EMBEDDED = 1024, MOST_REGRESSORS = 4096, MOST_COLUMNS = 256, MOST_TERMS = 128 };

/* No function takes or returns a vector: how one is passed differs between instruction sets. */
typedef double double4_at __attribute__((vector_size(32), aligned(8), may_alias));
typedef float float4_at __attribute__((vector_size(16), aligned(4), may_alias));
#define LOAD4(to, from) ((to) = *(const double4_at *)(from))
#define STORE4(to, from) (*(double4_at *)(to) = (from))
/* As doubles. What gcc makes of the conversion goes through memory, where there is an instruction for all four. */
#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif
#define WIDENED_BY_AVX2(to, from) ((to) = (double4)_mm256_cvtps_pd(_mm_loadu_ps((const float *)(from))))
#define WIDENED(to, from) ((to) = __builtin_convertvector(*(const float4_at *)(from), double4))
#define ALL4(x) ((double4){(x), (x), (x), (x)})
#define CHOOSE4(mask, one, other) ((double4)(((long4)(one) & (mask)) | ((long4)(other) & ~(mask))))
/* As np.minimum and np.maximum: a NaN stays. */
#define LEAST4(a, b) CHOOSE4(((a) < (b)) | ((a) != (a)), a, b)
#define MOST4(a, b) CHOOSE4(((a) > (b)) | ((a) != (a)), a, b)

#define ROUNDS 0x1.8p52
/* To the nearest integer, ties to even, of a number below 2 ** 51. */
#define RINT4(x) (((x) + ALL4(ROUNDS)) - ALL4(ROUNDS))
/* As np.round(x, 6), of a number below 2 ** 31. */
#define SIX_DECIMALS4(x) (RINT4((x) * ALL4(1e6)) / ALL4(1e6))

#define LOG2_E 0x1.71547652b82fep+0
#define LN2_HIGH 0x1.62e42fee00000p-1
#define LN2_LOW 0x1.a39ef35793c76p-33

static const double EXP_TERMS[] = {
    1.0 / 6227020800.0, 1.0 / 479001600.0, 1.0 / 39916800.0, 1.0 / 3628800.0, 1.0 / 362880.0, 1.0 / 40320.0,
    1.0 / 5040.0,       1.0 / 720.0,       1.0 / 120.0,      1.0 / 24.0,      1.0 / 6.0,      0.5,
    1.0,                1.0,
};

/* exp(x) in place, the argument bounded by 700. */
#define EXP4(x)                                                                         \
    do {                                                                                \
        double4 bounded_ = MOST4(x, ALL4(-700.0));                                      \
        bounded_ = LEAST4(bounded_, ALL4(700.0));                                       \
        double4 shifted_ = bounded_ * ALL4(LOG2_E) + ALL4(ROUNDS);                      \
        double4 power_ = shifted_ - ALL4(ROUNDS);                                       \
        double4 rest_ = (bounded_ - power_ * ALL4(LN2_HIGH)) - power_ * ALL4(LN2_LOW);  \
        double4 sum_ = ALL4(EXP_TERMS[0]);                                              \
        for (int term_ = 1; term_ < 14; term_++)                                        \
            sum_ = sum_ * rest_ + ALL4(EXP_TERMS[term_]);                               \
        long4 exponent_ = (long4)shifted_ - (long4)ALL4(ROUNDS);                        \
        (x) = sum_ * (double4)((exponent_ + 1023) << 52);                               \
    } while (0)

static inline double exp_of(double x)
{
    double4 lanes = ALL4(x);
    EXP4(lanes);
    return lanes[0];
}

/* numpy's order of adding contiguous numbers. */
#define PAIRWISE(name, number)                                                              \
    static number name(const number *values, long count)                                    \
    {                                                                                       \
        if (count < 8) {                                                                    \
            number sum = 0;                                                                 \
            for (long i = 0; i < count; i++)                                                \
                sum += values[i];                                                           \
            return sum;                                                                     \
        }                                                                                   \
        if (count <= 128) {                                                                 \
            number lanes[8];                                                                \
            long i = 8;                                                                     \
            memcpy(lanes, values, sizeof lanes);                                            \
            for (; i < count - count % 8; i += 8)                                           \
                for (int lane = 0; lane < 8; lane++)                                        \
                    lanes[lane] += values[i + lane];                                        \
            number sum = ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) +                  \
                         ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));                   \
            for (; i < count; i++)                                                          \
                sum += values[i];                                                           \
            return sum;                                                                     \
        }                                                                                   \
        long half = count / 2;                                                              \
        half -= half % 8;                                                                   \
        return name(values, half) + name(values + half, count - half);                      \
    }
PAIRWISE(sum_of_floats, float)
PAIRWISE(sum_of_doubles, double)

/* As numpy: a vector of zeros stays. */
static inline void to_length_one(float *vector, long size)
{
    float squares[MOST_EMBEDDED];
    for (long i = 0; i < size; i++)
        squares[i] = vector[i] * vector[i];
    float norm = (float)sqrt((double)sum_of_floats(squares, size));
    if (norm > 0)
        for (long i = 0; i < size; i++)
            vector[i] /= norm;
}

/* Linear between ascending points, and constant beyond them. */
static inline double interpolated(double x, const double *points, const double *values, long count)
{
    if (count == 1 || x <= points[0])
        return values[0];
    if (x >= points[count - 1])
        return values[count - 1];
    long low = 0, high = count - 1;
    while (high - low > 1) {
        long middle = (low + high) / 2;
        if (points[middle] <= x)
            low = middle;
        else
            high = middle;
    }
    double slope = (values[low + 1] - values[low]) / (points[low + 1] - points[low]);
    return values[low] + slope * (x - points[low]);
}

#endif
