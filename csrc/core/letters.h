/* What the members of a team that split the units tell each other after a step: their part of the new h.
 * A letter is one line of memory with the number of its round at the end: whoever sees the number has the values, too.
 * Behind a barrier they would be a second line on its way, and lie beside what their writer goes on to write, which a
 * core that reads them fetches ahead out of its hands. One row of LSTM(128) on two cores that share no cache: 1.13
 * times as fast, two rows 1.17; of LSTM(64) on cores that share one 1.11 (Zen 5). Next: barrier.c has the rounds,
 * sequence.c writes and reads the letters. */
#ifndef LF_LETTERS_H
#define LF_LETTERS_H

#include "../isa/cpu.h"

#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

enum { LF_LETTER_VALUES = LF_LINE_BYTES - sizeof(atomic_uint) }; /* bytes */
/* A member with more than so many letters for a step writes none: where processors share a cache, to write and to read
 * them is then 1 to 3 % of the time (4 rows of LSTM(256), 36 letters), and beyond it they no longer gain much. */
enum { LF_LETTERS_MOST = 20 };

typedef struct lf_letter {
    _Alignas(LF_LINE_BYTES) char values[LF_LETTER_VALUES];
    atomic_uint round;
} lf_letter;

/* Values of one size that a letter holds. */
static inline size_t lf_letter_holds(size_t element_bytes) {
    return element_bytes == sizeof(float) ? LF_LETTER_VALUES / sizeof(float) : LF_LETTER_VALUES / sizeof(double);
}

static inline void lf_letter_write(lf_letter *letter, const char *values, size_t bytes, unsigned round) {
    memcpy(letter->values, values, bytes);
    atomic_store_explicit(&letter->round, round, memory_order_release);
}

#endif
