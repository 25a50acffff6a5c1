/* Memory of large arrays, kept when they are gone for those of the next call: the C library would hand it back to the
 * system and take it again, page by page (a Conv1D, a pooling and an LSTM(64) over 32 rows of 128 steps: 1.9 times as
 * long, in a virtual machine).
 * Next: layer.c, for lf_allocate. */
#include <stdatomic.h>
#include <string.h>

#include "layer.h"
#include "threads.h"

#if !defined(_WIN32)
#include <pthread.h>
#endif

/* Before the memory that a caller sees lies a line that says how much it is. */
enum { HEADER_BYTES = LF_ALIGNMENT };
/* Below this the C library keeps what it is given back. */
enum { LEAST_BYTES = 64 << 10 };
/* So much is kept, for each thread that calls may use, in so many blocks: what a model hands from layer to layer. */
enum { KEPT_BLOCKS = 16, KEPT_BYTES = 32 << 20, KEPT_BYTES_MOST = 256 << 20 };

struct kept {
    void *memory;
    size_t bytes;
};

/* Oldest first. Who finds it busy does without. */
static atomic_flag busy = ATOMIC_FLAG_INIT;
static struct kept kept[KEPT_BLOCKS];
static size_t kept_count, kept_bytes;

static int enter(void) { return !atomic_flag_test_and_set_explicit(&busy, memory_order_acquire); }
static void leave(void) { atomic_flag_clear_explicit(&busy, memory_order_release); }

#if !defined(_WIN32)
/* Where another thread was at the list during the fork, it is half changed, and nobody here leaves it: it is lost. */
static void after_fork_in_child(void) {
    if (!enter()) kept_count = kept_bytes = 0;
    leave();
}

__attribute__((constructor)) static void watch_forks(void) { pthread_atfork(NULL, NULL, after_fork_in_child); }
#endif

static struct kept remove_kept(size_t i) {
    const struct kept found = kept[i];
    kept_bytes -= found.bytes;
    for (kept_count--; i < kept_count; i++) kept[i] = kept[i + 1];
    return found;
}

/* Sizes in steps of an eighth of a power of two: batches that differ by a row have the same. */
static size_t rounded(size_t bytes) {
    size_t unit = LEAST_BYTES / 8;
    while (bytes / 16 >= unit) unit *= 2;
    return lf_round_up(bytes, unit);
}

static void *begin_block(void *memory, size_t bytes) {
    *(size_t *)memory = bytes;
    return (char *)memory + HEADER_BYTES;
}

/* Of the kept ones that are large enough, and not much larger, the smallest; of equal ones the last, which may still be
 * in a cache. */
static void *reuse(size_t bytes) {
    struct kept best = {NULL, 0};
    if (!enter()) return NULL;
    size_t place = kept_count;
    for (size_t i = 0; i < kept_count; i++)
        if (kept[i].bytes >= bytes && kept[i].bytes - bytes <= bytes / 4 &&
            (place == kept_count || kept[i].bytes <= kept[place].bytes))
            place = i;
    if (place < kept_count) best = remove_kept(place);
    leave();
    return best.memory == NULL ? NULL : begin_block(best.memory, best.bytes);
}

static void *take(size_t bytes) {
    size_t whole;
    if (bytes > PTRDIFF_MAX / 2 || !lf_sum(bytes, HEADER_BYTES, &whole)) return NULL;
    if (whole >= LEAST_BYTES) whole = rounded(whole);
    void *block = whole >= LEAST_BYTES ? reuse(whole) : NULL;
    if (block != NULL) return block;
    void *memory = lf_allocate(whole);
    return memory == NULL ? NULL : begin_block(memory, whole);
}

static struct kept block_of(void *data) {
    char *memory = (char *)data - HEADER_BYTES;
    return (struct kept){memory, *(const size_t *)memory};
}

static void give(struct kept own) {
    struct kept old[KEPT_BLOCKS];
    size_t old_count = 0;
    const size_t most = lf_smaller(KEPT_BYTES * (size_t)lf_threads(), KEPT_BYTES_MOST);
    if (own.bytes >= LEAST_BYTES && own.bytes <= most && enter()) {
        while (kept_count == KEPT_BLOCKS || kept_bytes + own.bytes > most) old[old_count++] = remove_kept(0);
        kept[kept_count++] = own;
        kept_bytes += own.bytes;
        own.memory = NULL;
        leave();
    }
    for (size_t i = 0; i < old_count; i++) lf_release(old[i].memory);
    lf_release(own.memory);
}

void *lf_block_resize(void *block, size_t bytes) {
    void *other = bytes > 0 ? take(bytes) : NULL;
    if (block == NULL || (bytes > 0 && other == NULL)) return other;
    const struct kept own = block_of(block);
    if (other != NULL) memcpy(other, block, lf_smaller(own.bytes - HEADER_BYTES, bytes));
    give(own);
    return other;
}
