/* The lexicon's words, longest match first: a table of hashes over the list of words as it is stored. */
#ifndef PULVINAR_LEXICON_H
#define PULVINAR_LEXICON_H

#include "pieces.h"

/* Open addressing; a slot is the number of a word and one, 0 where it is free. Word `i` is the bytes of `text` from
 * `starts[i]` to before the line break in front of `starts[i + 1]`. `longest` are the characters of the longest word that
 * begins with a character, or with another one that has the same place.
 */
enum { LONGEST = 4096, MOST_OF_WORD = 255 };
typedef struct {
    const uint8_t *text;
    uint32_t *slots, *starts, mask;
    long count;
    uint8_t *longest;
} Lexicon;

static inline uint8_t *longest_of(const Lexicon *lexicon, uint32_t c)
{
    return &lexicon->longest[(c ^ c >> 12) % LONGEST];
}

/* The slot of these bytes, or the free one where they would be. */
static uint32_t *slot_of(const Lexicon *lexicon, uint32_t hash, const uint8_t *text, size_t size)
{
    for (uint32_t at = hash & lexicon->mask;; at = (at + 1) & lexicon->mask) {
        uint32_t *slot = &lexicon->slots[at];
        if (*slot == 0)
            return slot;
        const uint32_t *start = &lexicon->starts[*slot - 1];
        if (start[1] - start[0] - 1 == size && !memcmp(lexicon->text + *start, text, size))
            return slot;
    }
}

/* Fill the tables from `size` bytes of words; there must be more slots than words. The later one of equal words counts. */
static void index_words(Lexicon *lexicon, uint32_t size)
{
    uint32_t start = 0, hash = (uint32_t)HASH_START, first = 0;
    long characters = 0;
    for (uint32_t i = 0; i <= size; i++) {
        uint8_t c = i < size ? lexicon->text[i] : '\n';
        if (c != '\n') {
            hash = hash_step(hash, c);
            characters += (c & 0xC0) != 0x80;
            if (characters == 1)
                first = (c & 0xC0) == 0x80 ? first << 6 | (c & 63) : c < 0x80 ? c : c < 0xE0 ? c & 31 : c < 0xF0 ? c & 15 : c & 7;
            continue;
        }
        lexicon->starts[lexicon->count] = start;
        lexicon->starts[++lexicon->count] = i + 1;
        if (i > start) {
            uint8_t *longest = longest_of(lexicon, first);
            *slot_of(lexicon, hash_end(hash), lexicon->text + start, i - start) = (uint32_t)lexicon->count;
            if (characters > *longest)
                *longest = characters < MOST_OF_WORD ? (uint8_t)characters : MOST_OF_WORD;
        }
        start = i + 1;
        hash = (uint32_t)HASH_START;
        characters = 0;
    }
}

/* The number of the longest word at the beginning of a text, and how many characters it has; -1 where there is none. */
static long longest_word(const Lexicon *lexicon, const uint32_t *text, long length, long *characters)
{
    uint8_t bytes[4 * MOST_OF_WORD];
    uint32_t hashes[MOST_OF_WORD], hash = (uint32_t)HASH_START;
    long ends[MOST_OF_WORD], end = 0, most = *longest_of(lexicon, *text);
    if (most > length)
        most = length;
    for (long i = 0; i < most; i++) {
        for (long stop = end + utf8_of(text[i], bytes + end); end < stop; end++)
            hash = hash_step(hash, bytes[end]);
        hashes[i] = hash_end(hash);
        ends[i] = end;
    }
    for (long i = most; i > 0; i--) {
        uint32_t found = *slot_of(lexicon, hashes[i - 1], bytes, (size_t)ends[i - 1]);
        if (found) {
            *characters = i;
            return (long)found - 1;
        }
    }
    return -1;
}

#endif
