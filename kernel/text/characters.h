/* What characters are, and their lower case. */
#ifndef PULVINAR_CHARACTERS_H
#define PULVINAR_CHARACTERS_H

#include <stdint.h>

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

#endif
