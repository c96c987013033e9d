/* The surface features of a text. */
#ifndef PULVINAR_SURFACE_H
#define PULVINAR_SURFACE_H

#include <math.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "characters.h"

enum { CLASSES = 20, MOST_NEEDLES = 31, OPTIONS = 10, FIRST_WORD = 32 };

typedef struct { uint8_t text[16]; uint32_t length; } Needle;
typedef struct { uint8_t text[FIRST_WORD]; uint32_t length, position; } Opening;

/* The first `codes` needles are counted as they are written, the others are looked for in lower case. */
typedef struct {
    const uint8_t *classes;
    long codes, needles, openings, positions;
    Needle needle[MOST_NEEDLES];
    Opening *opening;
    /* Which needles, as bits, may begin with a character in lower case, go on with it, and go on further. */
    uint32_t first[256], second[256], third[256];
} Surface;

static const uint8_t PARTS[][2] = {{15, 10}, {16, 11}, {17, 14}, {18, 13}, {19, 13}};
enum { WIDER = 15, STRIPPED = 10 };
static const uint8_t STRIPPED_OF_WORD[] = ",.:;!?\"'()";

#define OPTION (1u << MOST_NEEDLES)
static void prepare_needles(Surface *surface)
{
    for (long i = 0; i < surface->needles; i++) {
        const Needle *needle = &surface->needle[i];
        uint32_t bit = 1u << i;
        surface->first[lowered(needle->text[0])] |= bit;
        surface->second[lowered(needle->text[1])] |= bit;
        for (int c = 0; c < 256; c++)
            if (needle->length == 2 || lowered(needle->text[2]) == c)
                surface->third[c] |= bit;
    }
    surface->first['('] |= OPTION;
    surface->first['\n'] |= OPTION;
    for (int c = 'a'; c < 'a' + OPTIONS; c++)
        surface->second[c] |= OPTION;
    surface->third[')'] |= OPTION;
    surface->third['.'] |= OPTION;
    surface->third[':'] |= OPTION;
}

static inline int is_stripped(uint32_t c) { return c != 0 && c < 128 && memchr(STRIPPED_OF_WORD, (int)c, STRIPPED); }

#ifdef __SSE2__
/* Sixteen characters as bytes and in lower case, and which are blanks and digits, as bits; 0 where not all are ASCII. */
static inline int sixteen_of(const uint32_t *text, uint8_t *raw, uint8_t *low, uint32_t *blanks, uint32_t *digits)
{
    __m128i parts[4], above = _mm_set1_epi32(~127);
    for (int i = 0; i < 4; i++)
        parts[i] = _mm_loadu_si128((const __m128i *)(text + 4 * i));
    __m128i all = _mm_or_si128(_mm_or_si128(parts[0], parts[1]), _mm_or_si128(parts[2], parts[3]));
    if (_mm_movemask_epi8(_mm_cmpeq_epi32(_mm_and_si128(all, above), _mm_setzero_si128())) != 0xFFFF)
        return 0;
    __m128i c = _mm_packus_epi16(_mm_packs_epi32(parts[0], parts[1]), _mm_packs_epi32(parts[2], parts[3]));
#define BETWEEN(first, last) _mm_and_si128(_mm_cmpgt_epi8(c, _mm_set1_epi8((first) - 1)), _mm_cmplt_epi8(c, _mm_set1_epi8((last) + 1)))
    _mm_storeu_si128((__m128i *)raw, c);
    _mm_storeu_si128((__m128i *)low, _mm_add_epi8(c, _mm_and_si128(BETWEEN('A', 'Z'), _mm_set1_epi8(32))));
    *blanks = (uint32_t)_mm_movemask_epi8(_mm_or_si128(BETWEEN(9, 13), BETWEEN(28, 32)));
    *digits = (uint32_t)_mm_movemask_epi8(BETWEEN('0', '9'));
#undef BETWEEN
    return 1;
}

static inline long count_of_bits(uint32_t bits)
{
    bits -= bits >> 1 & 0x55555555;
    bits = (bits & 0x33333333) + (bits >> 2 & 0x33333333);
    return (long)(((bits + (bits >> 4)) & 0x0F0F0F0F) * 0x01010101 >> 24);
}
#endif

/* `raw` and `low` have room for 2 * length + 1 bytes. */
static void surface_of(const Surface *surface, const uint32_t *text, long length, long turns, uint8_t *raw,
                       uint8_t *low, float *out)
{
    uint32_t ascii[2][128] = {{0}}, counts[CLASSES] = {0};
    long words = 0, numbers = 0, longest = 0, run = 0, units = 0, size = 0, first_at = 0, first_end;
    int after_space = 1;
#ifdef __SSE2__
    uint32_t blanks, digits;
#endif
    while (first_at < length && is_space(text[first_at]))
        first_at++;
    for (first_end = first_at; first_end < length && !is_space(text[first_end]);)
        first_end++;
    for (long i = 0; i < length; i++) {
#ifdef __SSE2__
        /* Sixteen characters of ASCII at a time. */
        while (i + 16 <= length && sixteen_of(text + i, raw + size, low + size, &blanks, &digits)) {
            words += count_of_bits(~blanks & (blanks << 1 | (uint32_t)after_space) & 0xFFFF);
            after_space = (int)(blanks >> 15);
            numbers += count_of_bits(digits & ~(digits << 1 | (uint32_t)(run > 0)));
            for (int j = 0; (digits || run) && j < 16; j++) {
                run = (run + 1) & -(long)(digits >> j & 1);
                longest = run > longest ? run : longest;
            }
            for (int j = 0; j < 16; j += 2) {
                ascii[0][raw[size + j]]++;
                ascii[1][raw[size + j + 1]]++;
            }
            i += 16;
            size += 16;
            units += 16;
        }
        if (i == length)
            break;
#endif
        uint32_t c = text[i];
        int kind = c < 128 ? OF_ASCII[c] : is_space(c), blank = kind & BLANK, digit = kind >> 1 & 1;
        words += after_space & ~blank;
        after_space = blank;
        numbers += digit & !run;
        run = (run + 1) & -(long)digit;
        longest = run > longest ? run : longest;
        if (c < 128) {
            /* In two tables, since the counts of two characters that are the same would wait for each other. */
            ascii[i & 1][c]++;
            raw[size] = (uint8_t)c;
            low[size++] = lowered(c);
            units++;
        } else if (c >= 0xD800 && c <= 0xDFFF) {
            /* A lone surrogate is encoded as "?", so it is counted as one, and is none where strings are searched. */
            ascii[0]['?']++;
            raw[size] = low[size] = 0xFF;
            size++;
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
    for (int c = 0; c < 128; c++)
        ascii[0][c] += ascii[1][c];

    uint32_t found = 0, options_seen = 0;
    long occurrences = 0, ends[MOST_NEEDLES] = {0};
    raw[size] = low[size] = 0xFF;
    for (long i = 0; i + 1 < size; i++) {
        uint32_t candidates = surface->first[low[i]] & surface->second[low[i + 1]] & surface->third[low[i + 2]];
        while (candidates) {
            int at = __builtin_ctz(candidates);
            candidates &= candidates - 1;
            if (at == MOST_NEEDLES) {
                uint8_t letter = raw[i + 1], closing = raw[i + 2];
                if (letter >= 'A' && letter < 'A' + OPTIONS && (closing == ')' || raw[i] == '\n'))
                    options_seen |= 1u << (letter - 'A');
                continue;
            }
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
    }
    long options = 0;
    while (options < OPTIONS && options_seen >> options & 1)
        options++;

    for (int c = 0; c < 128; c++)
        counts[surface->classes[c]] += ascii[0][c];
    for (size_t i = 0; i < sizeof PARTS / sizeof *PARTS; i++)
        counts[PARTS[i][1]] += counts[PARTS[i][0]];
    double characters = units ? (double)units : 1.0, ratio = characters / (words ? (double)words : 1.0);
    float *at = out;
    *at++ = (float)log1p(characters);
    *at++ = (float)log1p((double)words);
    *at++ = (float)(ratio < 40.0 ? ratio : 40.0);
    for (int i = 0; i < WIDER; i++)
        *at++ = (float)((double)counts[i] / characters);
    *at++ = (float)log1p((double)ascii[0]['\n']);
    *at++ = (float)log1p((double)options);
    *at++ = (float)log1p((double)numbers);
    *at++ = (float)log1p((double)longest);
    *at++ = (float)log1p((double)occurrences);
    *at++ = (float)log1p((double)ascii[0]['\\'] + (double)ascii[0]['$']);
    *at++ = (float)log1p((double)ascii[0]['?']);
    long last = length;
    while (last > 0 && is_space(text[last - 1]))
        last--;
    *at++ = last > 0 && text[last - 1] == '?' ? 1.0f : 0.0f;
    *at++ = (float)log1p((double)turns);
    for (long i = 0; i < surface->positions; i++)
        at[i] = 0.0f;
    if (first_at < length) {
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

#endif
