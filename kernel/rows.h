/* Sums of rows of a table, in their order; included by arithmetic.h once for every instruction set. */

#if IS_AVX2
#define EIGHT_OF_BYTES(to, from) \
    ((to) = (float8)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(from)))))
#define EIGHT_OF_HALVES(to, from) ((to) = (uint32x8)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(from))))
#else
#define EIGHT_OF_BYTES(to, from)              \
    do {                                      \
        float floats_[8];                     \
        for (int at_ = 0; at_ < 8; at_++)     \
            floats_[at_] = (float)(from)[at_]; \
        memcpy(&(to), floats_, 32);           \
    } while (0)
#define EIGHT_OF_HALVES(to, from)             \
    do {                                      \
        uint32_t halves_[8];                  \
        for (int at_ = 0; at_ < 8; at_++)     \
            halves_[at_] = (from)[at_];       \
        memcpy(&(to), halves_, 32);           \
    } while (0)
#endif

/* The sum of `columns` columns of the tokens' vectors in `out`, in registers; `columns` is a multiple of eight. */
static inline __attribute__((always_inline)) void ISA(sum_of_tokens)(
    const Table *table, const int64_t *ids, const float *weights, long count, long column, int columns, float *out)
{
    float8 sums[8], start = {0};
    if (weights != NULL)
        start = -start;
    for (int j = 0; j < columns / 8; j++)
        sums[j] = start;
    for (long i = 0; i < count; i++) {
        const int8_t *row = table->rows + ids[i] * table->embedded + column;
        float scale = table->scales[ids[i]], weight = weights == NULL ? 1.0f : weights[i];
        float8 scales = {scale, scale, scale, scale, scale, scale, scale, scale};
        float8 by_weight = {weight, weight, weight, weight, weight, weight, weight, weight};
        if (i + 8 < count)
            __builtin_prefetch(table->rows + ids[i + 8] * table->embedded + column);
        for (int j = 0; j < columns / 8; j++) {
            float8 product;
            EIGHT_OF_BYTES(product, row + 8 * j);
            product *= scales;
            sums[j] += weights == NULL ? product : product * by_weight;
        }
    }
    for (int j = 0; j < columns / 8; j++)
        memcpy(out + column + 8 * j, &sums[j], 32);
}

/* The vector of a text: the sum of its tokens' vectors, scaled to length one. `weights` are NULL where all are one. */
static void ISA(embed)(const Table *table, const int64_t *ids, const float *weights, long count, float *out)
{
    long column = 0;
    for (; column + 64 <= table->embedded; column += 64)
        if (weights == NULL)
            ISA(sum_of_tokens)(table, ids, NULL, count, column, 64, out);
        else
            ISA(sum_of_tokens)(table, ids, weights, count, column, 64, out);
    for (; column + 8 <= table->embedded; column += 8)
        ISA(sum_of_tokens)(table, ids, weights, count, column, 8, out);
    for (; column < table->embedded; column++) {
        float sum = weights == NULL ? 0.0f : -0.0f;
        for (long i = 0; i < count; i++) {
            float product = (float)table->rows[ids[i] * table->embedded + column] * table->scales[ids[i]];
            sum += weights == NULL ? product : product * weights[i];
        }
        out[column] = sum;
    }
    to_length_one(out, table->embedded);
}

/* Exactly; no row has an infinity. */
static inline float ISA(of_half)(uint16_t half)
{
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
}

static inline __attribute__((always_inline)) void ISA(sum_of_halves)(
    const uint16_t *grams, int readings, const uint32_t *rows, long count, float *out)
{
    float8 sums = {0};
    float rest[8] = {0};
    for (long i = 0; i < count; i++) {
        const uint16_t *row = grams + (size_t)rows[i] * (size_t)readings;
        if (i + 8 < count)
            __builtin_prefetch(grams + (size_t)rows[i + 8] * (size_t)readings);
        uint32x8 halves;
        EIGHT_OF_HALVES(halves, row);
        uint32x8 magnitude = (halves & 0x7FFFu) << 13, small = (uint32x8)((magnitude & 0x0F800000u) == 0);
        float8 values = (float8)(magnitude + (112u << 23) + (small & 1u << 23)) - (float8)(small & 113u << 23);
        sums += (float8)((uint32x8)values | (halves & 0x8000u) << 16);
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
