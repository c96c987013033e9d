/* The character n-grams of a text. */
#ifndef PULVINAR_GRAMS_H
#define PULVINAR_GRAMS_H

#include <stdlib.h>

#include "characters.h"

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
