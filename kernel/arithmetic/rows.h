/* Sums of rows of a table, in their order; included by arithmetic.h once for every instruction set. */

#if IS_AVX2
#define EIGHT_OF_BYTES(to, from) \
    ((to) = (float8)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(from)))))
#define EIGHT_OF_HALVES(to, from) ((to) = (float8)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(from))))
#else
#define EIGHT_OF_BYTES(to, from)              \
    do {                                      \
        float floats_[8];                     \
        for (int at_ = 0; at_ < 8; at_++)     \
            floats_[at_] = (float)(from)[at_]; \
        memcpy(&(to), floats_, 32);           \
    } while (0)
#define EIGHT_OF_HALVES(to, from)                                                                  \
    do {                                                                                           \
        uint32x8 halves_;                                                                          \
        for (int at_ = 0; at_ < 8; at_++)                                                          \
            halves_[at_] = (from)[at_];                                                            \
        uint32x8 magnitude_ = (halves_ & 0x7FFFu) << 13;                                           \
        uint32x8 small_ = (uint32x8)((magnitude_ & 0x0F800000u) == 0);                             \
        (to) = (float8)(magnitude_ + (112u << 23) + (small_ & 1u << 23)) - (float8)(small_ & 113u << 23); \
        (to) = (float8)((uint32x8)(to) | (halves_ & 0x8000u) << 16);                               \
    } while (0)
#endif

/* Add `columns` columns of the vectors of a few tokens to `out`, in their order; `columns` is a multiple of eight. */
static inline __attribute__((always_inline)) void ISA(add_tokens)(
    const int8_t *const *rows, const float *scales, const float *weights, long count, long column, int columns, float *out)
{
    float8 sums[8];
    for (int j = 0; j < columns / 8; j++)
        memcpy(&sums[j], out + column + 8 * j, 32);
    for (long i = 0; i < count; i++) {
        const int8_t *row = rows[i] + column;
        float scale = scales[i], weight = weights == NULL ? 1.0f : weights[i];
        float8 by_scale = {scale, scale, scale, scale, scale, scale, scale, scale};
        float8 by_weight = {weight, weight, weight, weight, weight, weight, weight, weight};
        for (int j = 0; j < columns / 8; j++) {
            float8 product;
            EIGHT_OF_BYTES(product, row + 8 * j);
            product *= by_scale;
            sums[j] += weights == NULL ? product : product * by_weight;
        }
    }
    for (int j = 0; j < columns / 8; j++)
        memcpy(out + column + 8 * j, &sums[j], 32);
}

/* The vector of a text: the sum of its tokens' vectors, scaled to length one. `weights` are NULL where all are one.
 *
 * A few tokens at a time, so that all of a row is read while its page is known, and the next rows are on their way.
 */
static void ISA(embed)(const Table *table, const int64_t *ids, const float *weights, long count, float *out)
{
    enum { TOKENS = 16, LINE = 64 };
    long embedded = table->embedded;
    const int8_t *rows[TOKENS];
    float scales[TOKENS];
    for (long j = 0; j < embedded; j++)
        out[j] = weights == NULL ? 0.0f : -0.0f;
    for (long first = 0; first < count; first += TOKENS) {
        long here = count - first < TOKENS ? count - first : TOKENS, column = 0;
        for (long i = 0; i < here; i++) {
            rows[i] = table->rows + ids[first + i] * embedded;
            scales[i] = table->scales[ids[first + i]];
        }
        for (long i = first + TOKENS; i < count && i < first + 2 * TOKENS; i++) {
            __builtin_prefetch(&table->scales[ids[i]]);
            for (long j = 0; j < embedded; j += LINE)
                __builtin_prefetch(table->rows + ids[i] * embedded + j);
        }
        const float *of_these = weights == NULL ? NULL : weights + first;
        for (; column + 64 <= embedded; column += 64)
            if (weights == NULL)
                ISA(add_tokens)(rows, scales, NULL, here, column, 64, out);
            else
                ISA(add_tokens)(rows, scales, of_these, here, column, 64, out);
        for (; column + 8 <= embedded; column += 8)
            ISA(add_tokens)(rows, scales, of_these, here, column, 8, out);
        for (; column < embedded; column++)
            for (long i = 0; i < here; i++) {
                float product = (float)rows[i][column] * scales[i];
                out[column] += weights == NULL ? product : product * of_these[i];
            }
    }
    to_length_one(out, embedded);
}

/* Exactly; no row has an infinity. */
static inline float ISA(of_half)(uint16_t half)
{
#if IS_AVX2
    return _cvtsh_ss(half);
#else
    uint32_t magnitude = (half & 0x7FFFu) << 13, bits;
    float value, low;
    int small = !(magnitude & 0x0F800000u);
    bits = small ? 113u << 23 : 0;
    memcpy(&low, &bits, 4);
    bits = magnitude + (small ? 113u << 23 : 112u << 23);
    memcpy(&value, &bits, 4);
    value -= low;
    /* Without a branch on the sign, which is as good as random. */
    memcpy(&bits, &value, 4);
    bits |= (uint32_t)(half & 0x8000u) << 16;
    memcpy(&value, &bits, 4);
    return value;
#endif
}

static inline __attribute__((always_inline)) void ISA(sum_of_halves)(
    const uint16_t *grams, int readings, const uint32_t *rows, long count, float *out)
{
    float8 sums = {0};
    float rest[8] = {0};
    /* So many rows ahead: each is in another part of the table. */
    enum { AHEAD = 24 };
    for (long i = 0; i < count; i++) {
        const uint16_t *row = grams + (size_t)rows[i] * (size_t)readings;
        if (i + AHEAD < count)
            __builtin_prefetch(grams + (size_t)rows[i + AHEAD] * (size_t)readings);
        float8 eight;
        EIGHT_OF_HALVES(eight, row);
        sums += eight;
        for (int j = 8; j < readings; j++)
            rest[j - 8] += ISA(of_half)(row[j]);
    }
    memcpy(out, &sums, 32);
    for (int j = 8; j < readings; j++)
        out[j] = rest[j - 8];
}

/* The mean of the rows of n-grams, times the root of their number. */
static void ISA(sum_of_grams)(const uint16_t *grams, long readings, const uint32_t *rows, long count, float *out)
{
    if (readings == 9) {
        ISA(sum_of_halves)(grams, 9, rows, count, out);
    } else {
        memset(out, 0, (size_t)readings * sizeof *out);
        for (long i = 0; i < count; i++)
            for (long j = 0; j < readings; j++)
                out[j] += ISA(of_half)(grams[(long)rows[i] * readings + j]);
    }
    float root = (float)sqrt((double)count);
    for (long j = 0; j < readings; j++)
        out[j] /= root;
}

#undef EIGHT_OF_BYTES
#undef EIGHT_OF_HALVES
