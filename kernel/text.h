/* What is read of a text as code points: word pieces, surface features, character n-grams. */
#ifndef PULVINAR_TEXT_H
#define PULVINAR_TEXT_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* Looked up rather than compared: where words and numbers end is as good as random, and a branch that is not foreseen
 * costs as much as ten characters.
 */
enum { BLANK = 1, DIGIT = 2, UPPER = 4, LOWER = 8 };
static const uint8_t OF_ASCII[128] = {[9 ... 13] = BLANK,    [28 ... 32] = BLANK,    ['0' ... '9'] = DIGIT,
                                      ['A' ... 'Z'] = UPPER, ['a' ... 'z'] = LOWER};

/* As str.isspace. */
static inline int is_space(uint32_t c)
{
    if (c < 0x80)
        return OF_ASCII[c] & BLANK;
    return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
           c == 0x202F || c == 0x205F || c == 0x3000;
}

/* Of an ASCII character. */
static inline int is_alphanumeric(uint32_t c) { return (OF_ASCII[c] & (DIGIT | UPPER | LOWER)) != 0; }
static inline uint8_t lowered(uint32_t c) { return (uint8_t)(c + ((uint32_t)(c - 'A' < 26u) << 5)); }

/* ---- characters beyond ASCII --------------------------------------------------------------------------------- */

/* What is known of U+0080 to U+303F: how the tokenizer reads a character in a word (`form`: itself or another one, which
 * is a letter or a mark on its own, or nothing), and its lower case; 0 where only Python knows. MATHEMATICAL is a letter
 * where the word is one of mathematics, which only Python knows.
 */
enum { FIRST_KNOWN = 0x80, END_KNOWN = 0x3040 };
enum { UNKNOWN_KIND, LETTER, MARK, DROPPED, MATHEMATICAL, KINDS };
typedef struct { int32_t kind, form, lower; } Character;

/* The lower case of `c`, 0 where it is not known here. */
static inline uint32_t lower_of(const Character *characters, uint32_t c)
{
    if (c < FIRST_KNOWN)
        return lowered(c);
    if (c < END_KNOWN)
        return (uint32_t)characters[c - FIRST_KNOWN].lower;
    /* Scripts of East Asia, lone surrogates, pictographs: none has upper case. */
    return (c >= 0x2E80 && c < 0xA640) || (c >= 0xAC00 && c < 0xE000) || (c >= 0x1F300 && c < 0x1FB00) ? c : 0;
}

/* Letters of mathematics and pictographs beyond these: each is a letter that is read as itself. */
static inline int is_symbol(uint32_t c) { return (c >= 0x1D400 && c < 0x1D800) || (c >= 0x1F000 && c < 0x20000); }
/* They choose how the character before them looks. */
static inline int is_selector(uint32_t c) { return c >= 0xFE00 && c < 0xFE10; }

static inline long utf8_of(uint32_t c, uint8_t *out)
{
    if (c < 0x80)
        return out[0] = (uint8_t)c, 1;
    if (c < 0x800)
        return out[0] = (uint8_t)(0xC0 | c >> 6), out[1] = (uint8_t)(0x80 | (c & 63)), 2;
    long more = c >= 0x10000;
    if (more)
        *out++ = (uint8_t)(0xF0 | c >> 18);
    out[0] = (uint8_t)(more ? 0x80 | (c >> 12 & 63) : 0xE0 | c >> 12);
    out[1] = (uint8_t)(0x80 | (c >> 6 & 63));
    out[2] = (uint8_t)(0x80 | (c & 63));
    return 3 + more;
}

/* ---- word pieces -------------------------------------------------------------------------------------------- */

enum { MOST_WORD = 1024, MOST_SPECIALS = 8 };

/* Open addressing; one table for the beginnings of words, one for their continuations. A hash of 0 is a free slot. At
 * `offset` the pool has a Piece and then its text. `may_have` are bits by the first bits of a hash, 32 KB a
 * table, which the second-level cache keeps: most texts that are no piece are known from them.
 */
enum { FILTER_BITS = 18, FILTER_BYTES = 1 << (FILTER_BITS - 3) };
typedef struct { uint32_t hash, offset; } Slot;
typedef struct { int32_t id; uint32_t length; } Piece;
typedef struct {
    Slot *slots[2];
    uint8_t *may_have[2];
    char *pool;
    /* The pieces of one character of ASCII at the beginning of a word. */
    int32_t of_ascii[128];
    uint32_t mask, longest[2];
    long most_characters, unknown;
    const Character *characters;
    /* What the tokenizer does not split, such as [MASK]: all begin with a bracket. */
    int specials;
    struct { uint32_t text[16]; long length; } special[MOST_SPECIALS];
} Vocabulary;

static inline uint32_t hash_step(uint32_t hash, uint8_t c) { return (hash ^ c) * 16777619u; }
static inline uint32_t hash_end(uint32_t hash)
{
    hash = (hash ^ hash >> 15) * 0x85ebca6bu;
    return (hash ^ hash >> 13) | 1;
}
enum { HASH_START = (int)2166136261u };

/* `pool` has room for the piece at `offset`; returns where the next one may be. */
static uint32_t add_piece(Vocabulary *vocabulary, const char *piece, uint32_t length, uint32_t offset, int continues,
                          int32_t id)
{
    uint32_t hash = (uint32_t)HASH_START;
    for (uint32_t i = 0; i < length; i++)
        hash = hash_step(hash, (uint8_t)piece[i]);
    hash = hash_end(hash);
    uint32_t at = hash & vocabulary->mask, bit = hash >> (32 - FILTER_BITS);
    while (vocabulary->slots[continues][at].hash)
        at = (at + 1) & vocabulary->mask;
    vocabulary->slots[continues][at] = (Slot){hash, offset};
    vocabulary->may_have[continues][bit >> 3] |= (uint8_t)(1u << (bit & 7));
    Piece made = {id, length};
    memcpy(vocabulary->pool + offset, &made, sizeof made);
    memcpy(vocabulary->pool + offset + sizeof made, piece, length);
    if (length > vocabulary->longest[continues])
        vocabulary->longest[continues] = length;
    if (!continues && length == 1 && (uint8_t)*piece < 128 && vocabulary->of_ascii[(uint8_t)*piece] < 0)
        vocabulary->of_ascii[(uint8_t)*piece] = id;
    return offset + (uint32_t)sizeof made + length;
}

static inline int32_t piece_of(const Vocabulary *vocabulary, int continues, uint32_t hash, const uint8_t *text,
                               uint32_t length)
{
    const Slot *slots = vocabulary->slots[continues];
    for (uint32_t at = hash & vocabulary->mask; slots[at].hash; at = (at + 1) & vocabulary->mask)
        if (slots[at].hash == hash) {
            Piece piece;
            memcpy(&piece, vocabulary->pool + slots[at].offset, sizeof piece);
            if (piece.length == length && !memcmp(vocabulary->pool + slots[at].offset + sizeof piece, text, length))
                return piece.id;
        }
    return -1;
}

/* Whether a text with this hash may be a piece. */
static inline int may_be_piece(const Vocabulary *vocabulary, int continues, uint32_t hash)
{
    uint32_t bit = hash >> (32 - FILTER_BITS);
    return vocabulary->may_have[continues][bit >> 3] >> (bit & 7) & 1;
}

/* The pieces of one word in lower case, the longest first; `ids` has room for `length`. `whole` is the hash of all of
 * it where that is known, else 0. Returns how many they are.
 */
static long pieces_of(const Vocabulary *vocabulary, const uint8_t *word, long length, uint32_t whole, int64_t *ids)
{
    long from = 0, count = 0;
    int32_t id;
    if (length == 1 && *word < 128) {
        id = vocabulary->of_ascii[*word];
        ids[0] = id >= 0 ? id : vocabulary->unknown;
        return 1;
    }
    /* Most words are one piece. */
    if (whole && (id = piece_of(vocabulary, 0, whole, word, (uint32_t)length)) >= 0) {
        ids[0] = id;
        return 1;
    }
    while (from < length) {
        int continues = from > 0;
        uint32_t hashes[MOST_WORD], hash = (uint32_t)HASH_START;
        long most = length - from, end;
        if (most > (long)vocabulary->longest[continues])
            most = vocabulary->longest[continues];
        for (long i = 0; i < most; i++)
            hashes[i] = hash = hash_step(hash, word[from + i]);
        for (end = most; end > 0; end--) {
            hash = hash_end(hashes[end - 1]);
            if (may_be_piece(vocabulary, continues, hash) &&
                (id = piece_of(vocabulary, continues, hash, word + from, (uint32_t)end)) >= 0) {
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

/* A word of a text: where it is, and in it the first letters and digits of ASCII, with their hash in lower case. */
typedef struct { long start, stop, ascii, ascii_end; uint32_t hash; } Word;

/* The next word from `from` on, whose slot of the table is prefetched; 0 where there is none. */
static inline int next_word(const Vocabulary *vocabulary, const uint32_t *text, long length, long from, Word *word)
{
    while (from < length && is_space(text[from]))
        from++;
    if (from >= length)
        return 0;
    long at = from;
    while (at < length && text[at] < 128 && OF_ASCII[text[at]] == 0)
        at++;
    uint32_t hash = (uint32_t)HASH_START;
    word->start = from;
    word->ascii = at;
    while (at < length && text[at] < 128 && is_alphanumeric(text[at]))
        hash = hash_step(hash, lowered(text[at++]));
    word->ascii_end = at;
    word->hash = at > word->ascii ? hash_end(hash) : 0;
    if (word->hash)
        __builtin_prefetch(&vocabulary->slots[0][word->hash & vocabulary->mask]);
    while (at < length && !is_space(text[at]))
        at++;
    word->stop = at;
    return 1;
}

/* A few words of a text, of which the first is the next one to read. */
enum { WORDS_AHEAD = 8 };
typedef struct { Word words[WORDS_AHEAD]; unsigned next, end; long at; } Words;

/* The next word to read; NULL where there is none. `words` is zero before the first call. */
static inline const Word *word_of(const Vocabulary *vocabulary, const uint32_t *text, long length, Words *words)
{
    while (words->end - words->next < WORDS_AHEAD) {
        Word *word = &words->words[words->end % WORDS_AHEAD];
        if (!next_word(vocabulary, text, length, words->at, word)) {
            /* Blanks at the end are not scanned again. */
            words->at = length;
            break;
        }
        words->at = word->stop;
        words->end++;
    }
    if (words->next == words->end)
        return NULL;
    /* The slot of a later word, prefetched some words ago, says where its piece is: that is prefetched now. */
    if (words->end - words->next > WORDS_AHEAD / 2) {
        uint32_t hash = words->words[(words->next + WORDS_AHEAD / 2) % WORDS_AHEAD].hash;
        if (hash)
            __builtin_prefetch(vocabulary->pool + vocabulary->slots[0][hash & vocabulary->mask].offset);
    }
    return &words->words[words->next++ % WORDS_AHEAD];
}

static int begins_special(const Vocabulary *vocabulary, const uint32_t *word, long length)
{
    for (int i = 0; i < vocabulary->specials; i++) {
        long size = vocabulary->special[i].length;
        if (size <= length && !memcmp(vocabulary->special[i].text, word, (size_t)size * sizeof *word))
            return 1;
    }
    return 0;
}

/* The pieces of a word, which is split at marks; `ids` has room for `length`. -1 for a word that only the tokenizer or
 * the lexicon can read; `is_english` where it is known that the lexicon does not.
 */
static long pieces_of_word(const Vocabulary *vocabulary, const uint32_t *text, const Word *of, int is_english,
                           int64_t *ids)
{
    const uint32_t *word = text + of->start;
    long length = of->stop - of->start, ascii_end = of->ascii_end - of->start, ascii = of->ascii_end - of->ascii;
    uint8_t part[MOST_WORD];
    long count = 0, size = 0, characters = 0;
    for (long i = 0; i <= length; i++) {
        uint32_t c = i < length ? word[i] : 0;
        int kind = UNKNOWN_KIND;
        /* Most characters of most words. */
        if (c < 128 && is_alphanumeric(c)) {
            if (++characters <= vocabulary->most_characters)
                part[size++] = lowered(c);
            continue;
        }
        if (c >= 32 && c < 127) {
            kind = MARK;
            if (c == '[' && begins_special(vocabulary, word + i, length - i))
                return -1;
        } else if (c >= FIRST_KNOWN && c < END_KNOWN) {
            const Character *known = &vocabulary->characters[c - FIRST_KNOWN];
            kind = known->kind == MATHEMATICAL ? is_english ? LETTER : UNKNOWN_KIND : known->kind;
            c = (uint32_t)known->form;
        } else if (is_symbol(c)) {
            kind = LETTER;
        } else if (is_selector(c)) {
            kind = DROPPED;
        }
        if (kind == LETTER) {
            if (++characters <= vocabulary->most_characters)
                size += utf8_of(c, part + size);
            continue;
        }
        if (kind == DROPPED)
            continue;
        if (kind == UNKNOWN_KIND && i < length)
            return -1;
        if (characters > vocabulary->most_characters)
            ids[count++] = vocabulary->unknown;
        else if (size)
            count += pieces_of(vocabulary, part, size, i == ascii_end && size == ascii ? of->hash : 0, ids + count);
        size = characters = 0;
        if (kind == MARK)
            count += pieces_of(vocabulary, part, utf8_of(c, part), 0, ids + count);
    }
    return count;
}

/* ---- surface features ---------------------------------------------------------------------------------------- */

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

/* ---- character n-grams ---------------------------------------------------------------------------------------- */

/* UTF-16 units of a text with single spaces, and one around it, in lower case where `characters` are given; `units` has
 * room for 2 * length + 2. -1 where a lower case is not known.
 */
static long units_of(const uint32_t *text, long length, const Character *characters, uint32_t *units)
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
        if (characters != NULL && c && (c = lower_of(characters, c)) == 0)
            return -1;
        if (c > 0xFFFF) {
            units[count++] = 0xD7C0 + (c >> 10);
            units[count++] = 0xDC00 + (c & 0x3FF);
        } else {
            units[count++] = c >= 0xD800 && c <= 0xDFFF ? '?' : c;
        }
    }
    units[count++] = ' ';
    return count;
}

/* The rows of all n-grams of two, then four units, in a table of 2 ** bits; `rows` has room for twice `count`. */
static long rows_of_grams(uint32_t *units, long count, int bits, uint32_t *rows)
{
    long found = 0;
    for (long i = 0; i < count; i++)
        units[i] = (units[i] + 1) * 0x9E3779B1u;
    for (int length = 2; length <= 4; length += 2) {
        for (long i = 0; i + length <= count; i++) {
            uint32_t rolling = units[i];
            for (int step = 1; step < length; step++)
                rolling = rolling * 0x01000193u + units[i + step];
            rows[found++] = rolling * 0x85EBCA6Bu >> (32 - bits);
        }
    }
    return found;
}

#endif
