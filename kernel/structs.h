/* What the stages of the arithmetic are bound to: pointers into arrays that Python keeps alive. */
#ifndef PULVINAR_STRUCTS_H
#define PULVINAR_STRUCTS_H

#include "lanes.h"

typedef struct {
    long tokens, embedded;
    const int8_t *rows;
    const float *scales;
    /* The lexicon: entries of a few tokens with weights; those beyond them are hashes. */
    long entries, of_entry, first_hashed, hashed, hashes;
    const uint16_t *entry_tokens;
    const uint8_t *entry_weights;
} Table;

/* Integer cluster centres of embeddings; `levels` is the greatest integer of a quantised topic. */
typedef struct {
    long count, embedded, levels;
    const float *center;
    const int8_t *integers;
    const float *scale;
} Landmarks;

typedef struct {
    Landmarks landmarks;
    long dense, readings, columns, points;
    const double *center, *bound, *weights, *intercept, *curve_points, *curve_values;
    /* As float16. */
    const uint16_t *grams;
} Reading;

enum { SHARPNESS, LOGIT, LOGIT_SLOPE, SCORE, SCORE_OF_DISTANCE, SCORE_OF_COSINE, OTHER_PRECISION,
       INSIDE, INSIDE_INDEPENDENT, OUTSIDE, OUTSIDE_INDEPENDENT, CONSTANTS };

typedef struct {
    Landmarks landmarks;
    long width, skills, columns, directions, quantiles;
    const float *center, *scale, *similarity_center, *similarity_scale;
    const float *in_and_out, *axes;
    const double *length, *extra_precision, *quantile_scores, *quantile_novelties, *constants;
} Projection;

/* What is known of a prompt before any card; the skills follow the first six. */
enum { LOG_TOKENS, UNCERTAINTY, INDEPENDENT_UNCERTAINTY, OOD_PROBABILITY, NOVELTY, PROFILE };

enum { LENGTH_OFFSET, MAX_OUTPUT, THINKING, TTFT, TPOT, INPUT_USD, OUTPUT_USD, FIRST, FURTHER,
       ACTIVE, READ, PROMPT, WEIGHT, KV, STATE, ATTENTION, FLOPS, BANDWIDTH, OFFLOAD, MEMORY, CARD_COLUMNS };
enum { QUALITY, STD, INDEPENDENT_STD, OUTPUT_TOKENS, WRITTEN_TOKENS, COST_USD, TTFT_MS, LATENCY_MS, FORECASTS };

/* Of `padded` cards, a multiple of four: each array is [card/4][row][card%4], so that all that is read of four cards
 * lies together. The rows of `strengths` and `variances` are families, those of `interactions` skills, and those of
 * `columns` the ones above.
 */
typedef struct {
    long padded, families, skills;
    double difficulty_variance;
    const double *strengths, *variances, *interactions, *columns;
} Cards;

typedef struct {
    double input_tokens, output_limit, thinking_scale;
    /* Of the prices of four cards, which are `price_step` numbers after those of the four before. */
    const double *input_usd, *output_usd;
    long price_step;
    int only_quality;
} Request;

enum { MOST_MASKS = 16, MOST_NODES = 16, MOST_VOTERS = 5, MOST_CALLS = 16 };
enum { CASCADE, COMMITTEE, SAMPLES, PANEL, BEST_OF, REROUTE, PLAN_KINDS };
/* Of a plan: its kind; the first of the members that it states and their number (the writer of a panel is the one after
 * them); `n` or `handovers`; of samples how many are asked at once, and how many calls run at a time (0: one after the
 * other); where its tables begin. */
enum { PLAN_KIND, STATED, STATED_MEMBERS, TIMES, AT_ONCE, PARALLEL, TABLES, PLAN_INTEGERS };
enum { SEPARATION, THRESHOLD, MARGIN, CAUGHT, PLAN_NUMBERS };
/* Of a stated member: the card, or -1 and how many of the best ones that pass these limits. */
enum { STATED_CARD, STATED_BEST, STATED_LIMITS, STATED_INTEGERS };
enum { CORRELATION, HARDNESS, READABLE, MOVED, FORM_ERROR, PLAN_CONSTANTS };
/* Plans on the cards of a catalogue. `models` has the same number for cards of one model. */
typedef struct {
    long cards, plans, masks, points, nodes, latents;
    const int64_t *models, *plan, *stated;
    const double *numbers, *tables, *constants, *grid, *cdf, *node, *node_weight, *latent_at, *latent;
} Plans;

typedef struct {
    void (*embed)(const Table *, const int64_t *ids, const float *weights, long count, float *out);
    void (*sum_of_grams)(const uint16_t *grams, long readings, const uint32_t *rows, long count, float *out);
    void (*read)(const Reading *, const float *vector, const double *context, const float *of_grams, float *out);
    void (*project)(const Projection *, const float *vector, double *out);
    void (*forecast)(const Cards *, const double *prompt, const float *reading, const Request *, double *out);
} Arithmetic;

typedef struct {
    void (*similarities)(double *cosines, long rows, long count, double sharpness, const float *center,
                         const float *scale);
    void (*in_order)(const double *x, const float *matrix, long rows, long columns, double *sums);
} Batches;

#endif
