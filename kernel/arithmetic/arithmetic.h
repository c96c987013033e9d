/* The arithmetic of a decision, compiled once for every instruction set: ISA(name) names the copy. */

#include "rows.h"
#include "in_order.h"

/* The products of up to PRODUCTS rows and a vector of numbers from -127 to 127, whose sums fit into 32 bits. */
static void ISA(products)(const int8_t *rows, const int8_t *vector, long count, long columns, int32_t *sums)
{
    long column = 0;
    memset(sums, 0, (size_t)count * sizeof *sums);
#if IS_AVX2
    if (count == PRODUCTS) {
        __m256i lanes[PRODUCTS] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()};
        for (; column + 32 <= columns; column += 32) {
            __m256i factors = _mm256_loadu_si256((const __m256i *)(vector + column));
            for (int i = 0; i < PRODUCTS; i++) {
                /* The sizes of the row's numbers and their signs at the vector's: two products are at most 32512. */
                __m256i row = _mm256_loadu_si256((const __m256i *)(rows + i * columns + column));
                __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(row), _mm256_sign_epi8(factors, row));
                lanes[i] = _mm256_add_epi32(lanes[i], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
            }
        }
        __m256i pairs = _mm256_hadd_epi32(lanes[0], lanes[1]), others = _mm256_hadd_epi32(lanes[2], lanes[3]);
        pairs = _mm256_hadd_epi32(pairs, others);
        _mm_storeu_si128((__m128i *)sums, _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1)));
    }
#endif
    for (long i = 0; i < count; i++)
        for (long j = column; j < columns; j++)
            sums[i] += rows[i * columns + j] * vector[j];
}

/* The cosines of an embedding, less the centre, with all landmarks: every sum of products of integers is exact. */
static void ISA(cosines)(const Landmarks *landmarks, const float *vector, double *out)
{
    long embedded = landmarks->embedded;
    float topic[MOST_EMBEDDED], squares[MOST_EMBEDDED];
    int8_t integers[MOST_EMBEDDED];
    for (long i = 0; i < embedded; i++) {
        topic[i] = vector[i] - landmarks->center[i];
        squares[i] = topic[i] * topic[i];
    }
    float length = sqrtf(sum_of_floats(squares, embedded)), greatest = 0;
    length = length > 1e-12f ? length : 1e-12f;
    for (long i = 0; i < embedded; i++) {
        topic[i] /= length;
        float size = fabsf(topic[i]);
        greatest = size > greatest ? size : greatest;
    }
    float step = (greatest > 1e-12f ? greatest : 1e-12f) / (float)landmarks->levels;
    for (long i = 0; i < embedded; i++) {
        /* As rintf, which is a call where there is no instruction for it. */
        float shifted = topic[i] / step + 0x1.8p23f, level = shifted - 0x1.8p23f;
        /* Only what is no number is beyond. */
        integers[i] = (int8_t)(level >= -127.0f && level <= 127.0f ? level : 0.0f);
    }
    for (long i = 0; i < landmarks->count; i += PRODUCTS) {
        int32_t sums[PRODUCTS];
        long here = landmarks->count - i < PRODUCTS ? landmarks->count - i : PRODUCTS;
        ISA(products)(landmarks->integers + i * embedded, integers, here, embedded, sums);
        for (long j = 0; j < here; j++)
            out[i + j] = (double)(float)sums[j] * ((double)step * (double)landmarks->scale[i + j]);
    }
}

static void ISA(read)(const Reading *reading, const float *vector, const double *context, const float *of_grams,
                      float *out)
{
    long width = reading->dense - 4, count = reading->landmarks.count, readings = reading->readings;
    double x[MOST_REGRESSORS], sums[MOST_COLUMNS];
    for (long i = 0; i < reading->dense; i++) {
        double value = (i < width ? (double)vector[i] : context[i - width]) - reading->center[i];
        value = value > -reading->bound[i] ? value : -reading->bound[i];
        x[i] = value < reading->bound[i] ? value : reading->bound[i];
    }
    double *similarities = x + reading->dense;
    ISA(cosines)(&reading->landmarks, vector, similarities);
    for (long i = 0; i < count; i += 4) {
        double lanes_[4] = {0};
        long here = count - i < 4 ? count - i : 4;
        memcpy(lanes_, similarities + i, (size_t)here * 8);
        double4 lanes;
        LOAD4(lanes, lanes_);
        lanes = ALL4(4.0) * (lanes - ALL4(1.0));
        EXP4(lanes);
        STORE4(lanes_, lanes);
        memcpy(similarities + i, lanes_, (size_t)here * 8);
    }
    ISA(in_order)(x, reading->weights, reading->dense + count, reading->columns, sums);
    double values[MOST_COLUMNS];
    for (long i = 0; i < readings; i++)
        values[i] = (reading->intercept[i] + sums[i]) + (double)of_grams[i];
    const double *points = reading->curve_points;
    double last = points[reading->points - 1], inside = values[0] > points[0] ? values[0] : points[0];
    inside = inside < last ? inside : last;
    values[0] = interpolated(inside, points, reading->curve_values, reading->points) + (values[0] - inside);
    for (long i = 1; i < readings; i++) {
        double share = values[i] > 0.0 ? values[i] : 0.0;
        values[i] = share < 1.0 ? share : 1.0;
    }
    double whole = sum_of_doubles(values + 1, readings - 1);
    whole = whole > 1.0 ? whole : 1.0;
    out[0] = (float)values[0];
    for (long i = 1; i < readings; i++)
        out[i] = (float)(values[i] / whole);
}

static void ISA(project)(const Projection *of, const float *vector, double *out)
{
    long embedded = of->landmarks.embedded, count = of->landmarks.count, skills = of->skills;
    const double *constants = of->constants;
    double x[MOST_REGRESSORS], topic[MOST_EMBEDDED], squares[MOST_EMBEDDED], sums[MOST_COLUMNS];
    for (long i = 0; i < embedded; i++) {
        topic[i] = (double)(float)(vector[i] - of->landmarks.center[i]);
        squares[i] = topic[i] * topic[i];
    }
    double distance = sum_of_doubles(squares, embedded) * constants[OTHER_PRECISION];
    ISA(in_order_of_floats)(topic, of->axes, embedded, of->directions, sums);
    for (long i = 0; i < of->directions; i++) {
        double square = sums[i] * sums[i];
        squares[i] = square * of->extra_precision[i];
    }
    distance += sum_of_doubles(squares, of->directions);

    double *similarities = x + 1 + of->width, nearest = -HUGE_VAL;
    ISA(cosines)(&of->landmarks, vector, similarities);
    for (long i = 0; i < count; i++)
        nearest = similarities[i] > nearest ? similarities[i] : nearest;
    for (long i = 0; i < count; i += 4) {
        double lanes_[4] = {0};
        long here = count - i < 4 ? count - i : 4;
        memcpy(lanes_, similarities + i, (size_t)here * 8);
        double4 lanes;
        LOAD4(lanes, lanes_);
        lanes = (lanes - ALL4(nearest)) * ALL4(constants[SHARPNESS]);
        EXP4(lanes);
        STORE4(lanes_, lanes);
        memcpy(similarities + i, lanes_, (size_t)here * 8);
    }
    double whole = sum_of_doubles(similarities, count);
    for (long i = 0; i < count; i++) {
        double value = (similarities[i] / whole - (double)of->similarity_center[i]) / (double)of->similarity_scale[i];
        value = value > -8.0 ? value : -8.0;
        similarities[i] = value < 8.0 ? value : 8.0;
    }
    x[0] = 1.0;
    for (long i = 0; i < of->width; i++) {
        float value = (vector[i] - of->center[i]) / of->scale[i];
        value = value > -8.0f ? value : -8.0f;
        x[1 + i] = (double)(value < 8.0f ? value : 8.0f);
    }
    long regressors = 1 + of->width + count;

    double score = (constants[SCORE] + constants[SCORE_OF_DISTANCE] * distance) + constants[SCORE_OF_COSINE] * nearest;
    double logit = constants[LOGIT] + constants[LOGIT_SLOPE] * score;
    double opposite = -logit > -30.0 ? -logit : -30.0;
    double ood = 1.0 / (1.0 + exp_of(opposite < 30.0 ? opposite : 30.0));

    ISA(in_order_of_floats)(x, of->in_and_out, regressors, of->columns, sums);
    double *profile = out + PROFILE;
    profile[0] = 1.0;
    for (long i = 0; i < skills; i++)
        profile[1 + i] = sums[i] + ood * (sums[skills + i] - sums[i]);
    double log_tokens = 0;
    for (long i = 0; i < regressors; i++)
        log_tokens += x[i] * of->length[i];
    out[LOG_TOKENS] = log_tokens;
    out[UNCERTAINTY] = exp_of((1.0 - ood) * constants[INSIDE] + ood * constants[OUTSIDE]);
    out[INDEPENDENT_UNCERTAINTY] =
        exp_of((1.0 - ood) * constants[INSIDE_INDEPENDENT] + ood * constants[OUTSIDE_INDEPENDENT]);
    out[OOD_PROBABILITY] = ood;
    double excess = score - of->quantile_scores[of->quantiles - 1];
    excess = excess > 0.0 ? excess : 0.0;
    out[NOVELTY] = interpolated(score, of->quantile_scores, of->quantile_novelties, of->quantiles) +
                   (1.0 - of->quantile_novelties[of->quantiles - 1]) * (excess / (1.0 + excess));
}

/* The sum over `terms` of rows[term] * factors[term] for four cards, in numpy's order for at most 128 terms. */
#define SUM_OF_TERMS(sum, rows, factors, terms)                                                            \
    do {                                                                                                   \
        double4 lanes_[8], numbers_;                                                                       \
        if ((terms) < 8) {                                                                                 \
            (sum) = ALL4(0.0);                                                                             \
            for (long i_ = 0; i_ < (terms); i_++) {                                                        \
                LOAD4(numbers_, (rows) + i_ * 4);                                                          \
                (sum) += numbers_ * ALL4((factors)[i_]);                                                   \
            }                                                                                              \
            break;                                                                                         \
        }                                                                                                  \
        for (int lane_ = 0; lane_ < 8; lane_++) {                                                          \
            LOAD4(numbers_, (rows) + lane_ * 4);                                                           \
            lanes_[lane_] = numbers_ * ALL4((factors)[lane_]);                                             \
        }                                                                                                  \
        long i_ = 8;                                                                                       \
        for (; i_ < (terms) - (terms) % 8; i_ += 8)                                                        \
            for (int lane_ = 0; lane_ < 8; lane_++) {                                                      \
                LOAD4(numbers_, (rows) + (i_ + lane_) * 4);                                                \
                lanes_[lane_] += numbers_ * ALL4((factors)[i_ + lane_]);                                   \
            }                                                                                              \
        (sum) = ((lanes_[0] + lanes_[1]) + (lanes_[2] + lanes_[3])) +                                      \
                ((lanes_[4] + lanes_[5]) + (lanes_[6] + lanes_[7]));                                       \
        for (; i_ < (terms); i_++) {                                                                       \
            LOAD4(numbers_, (rows) + i_ * 4);                                                              \
            (sum) += numbers_ * ALL4((factors)[i_]);                                                       \
        }                                                                                                  \
    } while (0)

#define DEVIATION4(result, variance)                                                  \
    do {                                                                              \
        double4 variance_ = MOST4(variance, ALL4(1e-10)), deviation_;                 \
        for (int lane_ = 0; lane_ < 4; lane_++)                                       \
            deviation_[lane_] = sqrt(variance_[lane_]);                               \
        deviation_ = LEAST4(deviation_, ALL4(0.5));                                   \
        (result) = SIX_DECIMALS4(deviation_);                                         \
    } while (0)

/* The bandwidth at which all that a model needs is read, in part from the host where it does not fit. */
#define BYTES_PER_S4(result, context)                                                              \
    do {                                                                                           \
        double4 weight_, kv_, state_, memory_, host_, own_;                                        \
        LOAD4(weight_, columns + WEIGHT * 4);                                                      \
        LOAD4(kv_, columns + KV * 4);                                                              \
        LOAD4(state_, columns + STATE * 4);                                                        \
        LOAD4(memory_, columns + MEMORY * 4);                                                      \
        LOAD4(host_, columns + OFFLOAD * 4);                                                       \
        LOAD4(own_, columns + BANDWIDTH * 4);                                                      \
        double4 needed_ = (weight_ + kv_ * (context)) + state_;                                    \
        long4 exceeds_ = needed_ > memory_;                                                        \
        double4 fast_ = memory_ / own_, slow_ = (needed_ - memory_) / host_;                       \
        double4 slower_ = MOST4(fast_, slow_), shared_ = needed_ / slower_;                        \
        (result) = CHOOSE4(exceeds_, shared_, own_);                                               \
    } while (0)

static void ISA(forecast)(const Cards *cards, const double *prompt, const float *reading, const Request *request,
                          double *out)
{
    long padded = cards->padded, families = cards->families;
    double weights[MOST_TERMS], squared[MOST_TERMS];
    double difficulty = (double)reading[0], known = 1.0 - prompt[OOD_PROBABILITY];
    for (long i = 1; i < families; i++)
        weights[i] = (double)reading[i];
    weights[0] = 1.0 - sum_of_doubles(weights + 1, families - 1);
    for (long i = 0; i < families; i++)
        squared[i] = weights[i] * weights[i];
    squared[0] = 1.0;
    double share = exp_of(0.6 * (difficulty - 2.0));
    share = share > 0.03 ? share : 0.03;
    double thinking_scale = request->thinking_scale * (share < 2.0 ? share : 2.0);
    double tokens = request->input_tokens, limit = request->output_limit;
    for (long card = 0; card < padded; card += 4) {
        double4 logits, interactions, independent, column;
        const double *columns = cards->columns + card * CARD_COLUMNS;
        SUM_OF_TERMS(logits, cards->strengths + card * families, weights, families);
        SUM_OF_TERMS(interactions, cards->interactions + card * cards->skills, prompt + PROFILE + 1, cards->skills);
        SUM_OF_TERMS(independent, cards->variances + card * families, squared, families);
        logits = (logits - ALL4(difficulty)) + ALL4(known) * interactions;
        double4 bounded = MOST4(logits, ALL4(-12.0));
        bounded = LEAST4(bounded, ALL4(12.0));
        double4 opposite = -bounded;
        EXP4(opposite);
        double4 quality = ALL4(1.0) / (ALL4(1.0) + opposite);
        double4 slope = quality * (ALL4(1.0) - quality);
        slope = slope * slope;
        double4 result = SIX_DECIMALS4(quality);
        STORE4(out + QUALITY * padded + card, result);
        DEVIATION4(result, slope * (independent + ALL4(cards->difficulty_variance)));
        STORE4(out + STD * padded + card, result);
        DEVIATION4(result, slope * independent);
        STORE4(out + INDEPENDENT_STD * padded + card, result);
        if (request->only_quality)
            continue;

        LOAD4(column, columns + LENGTH_OFFSET * 4);
        double4 length = ALL4(prompt[LOG_TOKENS]) + column;
        length = LEAST4(length, ALL4(20.0));
        EXP4(length);
        double4 output = length - ALL4(1.0);
        output = MOST4(output, ALL4(1.0));
        output = LEAST4(output, ALL4(8192.0));
        output = RINT4(output);
        LOAD4(column, columns + MAX_OUTPUT * 4);
        output = LEAST4(output, column);
        output = LEAST4(output, ALL4(limit));
        STORE4(out + OUTPUT_TOKENS * padded + card, output);
        LOAD4(column, columns + THINKING * 4);
        double4 thinking = column * ALL4(thinking_scale);
        double4 written = output + RINT4(thinking);
        written = LEAST4(written, ALL4(limit));
        STORE4(out + WRITTEN_TOKENS * padded + card, written);

        double4 input_usd, output_usd;
        LOAD4(input_usd, request->input_usd + card / 4 * request->price_step);
        LOAD4(output_usd, request->output_usd + card / 4 * request->price_step);
        result = ALL4(tokens) * input_usd + written * output_usd;
        STORE4(out + COST_USD * padded + card, result);

        double4 active, attention, flops, read, of_prompt, kv, state, bandwidth, factor;
        LOAD4(active, columns + ACTIVE * 4);
        LOAD4(attention, columns + ATTENTION * 4);
        LOAD4(flops, columns + FLOPS * 4);
        LOAD4(read, columns + READ * 4);
        LOAD4(of_prompt, columns + PROMPT * 4);
        LOAD4(kv, columns + KV * 4);
        LOAD4(state, columns + STATE * 4);
        double4 computing = ((ALL4(2.0) * active) * ALL4(tokens) + attention * ALL4(tokens * tokens)) / flops;
        double4 all_read = read * ALL4(tokens > 1.0 ? tokens : 1.0);
        all_read = LEAST4(all_read, of_prompt);
        BYTES_PER_S4(bandwidth, ALL4(tokens));
        double4 reading_s = all_read / bandwidth;
        LOAD4(factor, columns + FIRST * 4);
        double4 first = (MOST4(computing, reading_s) * ALL4(1e3)) * factor;
        LOAD4(column, columns + TTFT * 4);
        first = CHOOSE4(column == column, column, first);
        STORE4(out + TTFT_MS * padded + card, first);

        double4 context = ALL4(tokens) + written / ALL4(2.0);
        BYTES_PER_S4(bandwidth, context);
        LOAD4(factor, columns + FURTHER * 4);
        double4 further = ((((read + kv * context) + state) / bandwidth) * ALL4(1e3)) * factor;
        LOAD4(column, columns + TPOT * 4);
        further = CHOOSE4(column == column, column, further);
        result = first + written * further;
        STORE4(out + LATENCY_MS * padded + card, result);
    }
}

static const Arithmetic ISA(arithmetic) = {ISA(embed), ISA(sum_of_grams), ISA(read), ISA(project), ISA(forecast)};
