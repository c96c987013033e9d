/* The word pieces of a text. router/perceive/text/ is the specification. */
#ifndef PULVINAR_PIECES_H
#define PULVINAR_PIECES_H

#include <stdlib.h>
#include <string.h>

#include "characters.h"

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

#endif
