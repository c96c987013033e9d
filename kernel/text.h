/* What is read of a text as code points: word pieces, surface features, character n-grams. */
#ifndef PULVINAR_TEXT_H
#define PULVINAR_TEXT_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* As str.isspace. */
static inline int is_space(uint32_t c)
{
    if (c < 0x80)
        return c == ' ' || (c >= 9 && c <= 13) || (c >= 28 && c <= 31);
    return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
           c == 0x202F || c == 0x205F || c == 0x3000;
}

static inline int is_digit(uint32_t c) { return c >= '0' && c <= '9'; }
static inline int is_upper(uint32_t c) { return c >= 'A' && c <= 'Z'; }
static inline int is_alphanumeric(uint32_t c) { return is_digit(c) || is_upper(c) || (c >= 'a' && c <= 'z'); }
static inline uint8_t lowered(uint32_t c) { return (uint8_t)(is_upper(c) ? c + 32 : c); }

/* ---- word pieces -------------------------------------------------------------------------------------------- */

enum { MOST_WORD = 256 };

/* Open addressing; one table for the beginnings of words, one for their continuations. A hash of 0 is a free slot. */
typedef struct { uint32_t hash, offset, length; int32_t id; } Slot;
typedef struct {
    Slot *slots[2];
    char *pool;
    uint32_t mask, longest[2];
    long most_characters, unknown;
} Vocabulary;

static inline uint32_t hash_step(uint32_t hash, uint8_t c) { return (hash ^ c) * 16777619u; }
static inline uint32_t hash_end(uint32_t hash)
{
    hash = (hash ^ hash >> 15) * 0x85ebca6bu;
    return (hash ^ hash >> 13) | 1;
}
enum { HASH_START = (int)2166136261u };

/* `pool` has room for the piece at `offset`. */
static void add_piece(Vocabulary *vocabulary, const char *piece, uint32_t length, uint32_t offset, int continues,
                      int32_t id)
{
    uint32_t hash = (uint32_t)HASH_START;
    for (uint32_t i = 0; i < length; i++)
        hash = hash_step(hash, (uint8_t)piece[i]);
    hash = hash_end(hash);
    uint32_t at = hash & vocabulary->mask;
    while (vocabulary->slots[continues][at].hash)
        at = (at + 1) & vocabulary->mask;
    vocabulary->slots[continues][at] = (Slot){hash, offset, length, id};
    memcpy(vocabulary->pool + offset, piece, length);
    if (length > vocabulary->longest[continues])
        vocabulary->longest[continues] = length;
}

static inline int32_t piece_of(const Vocabulary *vocabulary, int continues, uint32_t hash, const uint8_t *text,
                               uint32_t length)
{
    const Slot *slots = vocabulary->slots[continues];
    for (uint32_t at = hash & vocabulary->mask; slots[at].hash; at = (at + 1) & vocabulary->mask)
        if (slots[at].hash == hash && slots[at].length == length &&
            !memcmp(vocabulary->pool + slots[at].offset, text, length))
            return slots[at].id;
    return -1;
}

/* The pieces of one word in lower case, the longest first; `ids` has room for `length`. Returns how many they are. */
static long pieces_of(const Vocabulary *vocabulary, const uint8_t *word, long length, int64_t *ids)
{
    long from = 0, count = 0;
    while (from < length) {
        int continues = from > 0;
        uint32_t hashes[MOST_WORD], hash = (uint32_t)HASH_START;
        long most = length - from, end;
        if (most > (long)vocabulary->longest[continues])
            most = vocabulary->longest[continues];
        for (long i = 0; i < most; i++)
            hashes[i] = hash = hash_step(hash, word[from + i]);
        for (end = most; end > 0; end--) {
            int32_t id = piece_of(vocabulary, continues, hash_end(hashes[end - 1]), word + from, (uint32_t)end);
            if (id >= 0) {
                ids[count++] = id;
                break;
            }
        }
        if (end == 0) {
            ids[0] = vocabulary->unknown;
            return 1;
        }
        from += end;
    }
    return count;
}

/* Whether the tokenizer only lowers the case of these characters and splits them; see `_is_plain` of the encoder. */
static int is_plain(const uint32_t *word, long length)
{
    for (long i = 0; i < length; i++)
        if (word[i] < 32 || word[i] > 126 || word[i] == '[')
            return 0;
    return 1;
}

/* The pieces of a plain word, which is split at punctuation; `ids` has room for `length`. */
static long pieces_of_plain(const Vocabulary *vocabulary, const uint32_t *word, long length, int64_t *ids)
{
    long count = 0;
    for (long start = 0, end; start < length; start = end) {
        uint8_t part[MOST_WORD];
        long size = 0;
        end = start;
        if (!is_alphanumeric(word[end])) {
            part[size++] = (uint8_t)word[end++];
        } else {
            for (; end < length && is_alphanumeric(word[end]); end++)
                if (size < MOST_WORD)
                    part[size++] = lowered(word[end]);
        }
        if (end - start > vocabulary->most_characters)
            ids[count++] = vocabulary->unknown;
        else
            count += pieces_of(vocabulary, part, size, ids + count);
    }
    return count;
}

/* ---- surface features ---------------------------------------------------------------------------------------- */

enum { CLASSES = 20, MOST_NEEDLES = 32, OPTIONS = 10, FIRST_WORD = 32 };

typedef struct { uint8_t text[16]; uint32_t length; } Needle;
typedef struct { uint8_t text[FIRST_WORD]; uint32_t length, position; } Opening;

/* The first `codes` needles are counted as they are written, the others are looked for in lower case. */
typedef struct {
    const uint8_t *classes;
    long codes, needles, openings, positions;
    Needle needle[MOST_NEEDLES];
    Opening *opening;
    uint32_t first[256], second[256];
} Surface;

static const uint8_t PARTS[][2] = {{15, 10}, {16, 11}, {17, 14}, {18, 13}, {19, 13}};
enum { WIDER = 15, STRIPPED = 10 };
static const uint8_t STRIPPED_OF_WORD[] = ",.:;!?\"'()";

static void prepare_needles(Surface *surface)
{
    for (long i = 0; i < surface->needles; i++) {
        const Needle *needle = &surface->needle[i];
        uint32_t bit = 1u << i;
        surface->first[needle->text[0]] |= bit;
        surface->second[needle->text[1]] |= bit;
        if (i >= surface->codes) {
            for (int c = 'A'; c <= 'Z'; c++) {
                if (needle->text[0] == c + 32)
                    surface->first[c] |= bit;
                if (needle->text[1] == c + 32)
                    surface->second[c] |= bit;
            }
        }
    }
}

static inline int is_stripped(uint32_t c) { return c != 0 && c < 128 && memchr(STRIPPED_OF_WORD, (int)c, STRIPPED); }

/* `raw` and `low` have room for 2 * length + 1 bytes. */
static void surface_of(const Surface *surface, const uint32_t *text, long length, long turns, uint8_t *raw,
                       uint8_t *low, float *out)
{
    uint32_t ascii[128] = {0}, counts[CLASSES] = {0};
    long words = 0, numbers = 0, longest = 0, run = 0, units = 0, size = 0, first_at = -1, first_end = -1;
    int space = 1;
    for (long i = 0; i < length; i++) {
        uint32_t c = text[i];
        int is_blank = is_space(c);
        if (space && !is_blank) {
            words++;
            if (first_at < 0)
                first_at = i;
        } else if (is_blank && !space && first_end < 0) {
            first_end = i;
        }
        space = is_blank;
        /* A lone surrogate is encoded as "?", so it is counted as one, and is none where strings are searched. */
        int is_lone = c >= 0xD800 && c <= 0xDFFF;
        if (is_lone)
            c = '?';
        if (is_digit(c)) {
            run++;
        } else if (run) {
            numbers++;
            longest = run > longest ? run : longest;
            run = 0;
        }
        if (c < 128) {
            ascii[c]++;
            raw[size] = is_lone ? 0xFF : (uint8_t)c;
            low[size++] = is_lone ? 0xFF : lowered(c);
            units++;
        } else {
            if (c > 0xFFFF) {
                counts[surface->classes[0xD800]] += 2;
                units += 2;
            } else {
                counts[surface->classes[c]]++;
                units++;
            }
            raw[size] = 0xFF;
            /* The only other characters with an ASCII letter in their lower case. */
            low[size++] = c == 0x212A ? 'k' : c == 0x130 ? 'i' : 0xFF;
            if (c == 0x130) {
                raw[size] = 0xFF;
                low[size++] = 0xFF;
            }
        }
    }
    if (run) {
        numbers++;
        longest = run > longest ? run : longest;
    }
    if (first_end < 0)
        first_end = length;
    raw[size] = low[size] = 0xFF;

    uint32_t found = 0, options_seen = 0;
    long occurrences = 0, ends[MOST_NEEDLES] = {0};
    for (long i = 0; i + 1 < size; i++) {
        uint32_t candidates = surface->first[raw[i]] & surface->second[raw[i + 1]];
        candidates |= surface->first[low[i]] & surface->second[low[i + 1]] & ~((1u << surface->codes) - 1u);
        while (candidates) {
            int at = __builtin_ctz(candidates);
            candidates &= candidates - 1;
            const Needle *needle = &surface->needle[at];
            if (i + (long)needle->length > size)
                continue;
            if (at < surface->codes) {
                if (i >= ends[at] && !memcmp(raw + i, needle->text, needle->length)) {
                    occurrences++;
                    ends[at] = i + (long)needle->length;
                }
            } else if (!(found >> at & 1) && !memcmp(low + i, needle->text, needle->length)) {
                found |= 1u << at;
            }
        }
        uint8_t letter = raw[i + 1], closing = i + 2 < size ? raw[i + 2] : 0;
        if ((raw[i] == '(' || raw[i] == '\n') && letter >= 'A' && letter < 'A' + OPTIONS &&
            (closing == ')' || (raw[i] == '\n' && (closing == '.' || closing == ':'))))
            options_seen |= 1u << (letter - 'A');
    }
    long options = 0;
    while (options < OPTIONS && options_seen >> options & 1)
        options++;

    for (int c = 0; c < 128; c++)
        counts[surface->classes[c]] += ascii[c];
    for (size_t i = 0; i < sizeof PARTS / sizeof *PARTS; i++)
        counts[PARTS[i][1]] += counts[PARTS[i][0]];
    double characters = units ? (double)units : 1.0, ratio = characters / (words ? (double)words : 1.0);
    float *at = out;
    *at++ = (float)log1p(characters);
    *at++ = (float)log1p((double)words);
    *at++ = (float)(ratio < 40.0 ? ratio : 40.0);
    for (int i = 0; i < WIDER; i++)
        *at++ = (float)((double)counts[i] / characters);
    *at++ = (float)log1p((double)ascii['\n']);
    *at++ = (float)log1p((double)options);
    *at++ = (float)log1p((double)numbers);
    *at++ = (float)log1p((double)longest);
    *at++ = (float)log1p((double)occurrences);
    *at++ = (float)log1p((double)ascii['\\'] + (double)ascii['$']);
    *at++ = (float)log1p((double)ascii['?']);
    long last = length;
    while (last > 0 && is_space(text[last - 1]))
        last--;
    *at++ = last > 0 && text[last - 1] == '?' ? 1.0f : 0.0f;
    *at++ = (float)log1p((double)turns);
    for (long i = 0; i < surface->positions; i++)
        at[i] = 0.0f;
    if (first_at >= 0) {
        long from = first_at, end = first_end;
        while (from < end && is_stripped(text[from]))
            from++;
        while (from < end && is_stripped(text[end - 1]))
            end--;
        for (long i = 0; i < surface->openings; i++) {
            const Opening *opening = &surface->opening[i];
            long j = 0;
            if ((long)opening->length != end - from)
                continue;
            while (j < end - from &&
                   (text[from + j] < 128 ? lowered(text[from + j]) : text[from + j] == 0x212A ? 'k' : 0xFF) ==
                       opening->text[j])
                j++;
            if (j == end - from)
                at[opening->position] = 1.0f;
        }
    }
    at += surface->positions;
    for (long i = surface->codes; i < surface->needles; i++)
        *at++ = (float)(found >> i & 1);
    for (int i = WIDER; i < CLASSES; i++)
        *at++ = (float)((double)counts[i] / characters);
}

/* ---- character n-grams ---------------------------------------------------------------------------------------- */

/* UTF-16 units of a text in lower case with single spaces, and one around it; `units` has room for 2 * length + 2. */
static long units_of(const uint32_t *text, long length, int lower, uint32_t *units)
{
    long count = 0;
    units[count++] = ' ';
    int waiting = 0;
    for (long i = 0; i < length; i++) {
        uint32_t c = text[i];
        if (is_space(c)) {
            waiting = count > 1;
            continue;
        }
        if (waiting)
            units[count++] = ' ';
        waiting = 0;
        if (c > 0xFFFF) {
            units[count++] = 0xD7C0 + (c >> 10);
            units[count++] = 0xDC00 + (c & 0x3FF);
        } else {
            units[count++] = c >= 0xD800 && c <= 0xDFFF ? '?' : lower ? lowered(c) : c;
        }
    }
    units[count++] = ' ';
    return count;
}

/* The mean of the rows of all n-grams of two, then four units, times the root of their number. */
static void sum_of_grams(const float *grams, long readings, int bits, uint32_t *units, long count, float *out)
{
    long found = 0;
    memset(out, 0, (size_t)readings * sizeof *out);
    for (long i = 0; i < count; i++)
        units[i] = (units[i] + 1) * 0x9E3779B1u;
    for (int length = 2; length <= 4; length += 2) {
        for (long i = 0; i + length <= count; i++) {
            uint32_t rolling = units[i];
            for (int step = 1; step < length; step++)
                rolling = rolling * 0x01000193u + units[i + step];
            const float *row = grams + (long)(rolling * 0x85EBCA6Bu >> (32 - bits)) * readings;
            for (long j = 0; j < readings; j++)
                out[j] += row[j];
            found++;
        }
    }
    float root = (float)sqrt((double)found);
    for (long j = 0; j < readings; j++)
        out[j] /= root;
}

#endif
