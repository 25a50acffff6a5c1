/* One call: the time loop, direction, masks and state of a layer, over rows and unit blocks that threads share out.
 *   for each step: (x, h, c) -> kernel -> (h', c'),  y[step] = h'
 * h' is written straight into y where it can be, and the next step reads it from there.
 * Next: kernels/lstm_step.inc does the step; masks.c leaves rows out, lanes.c makes lanes of them; together.c runs
 * several calls at once. */
#include <stdatomic.h>

#include "part.h"

/* Rows a thread takes through all steps at once, in tiles. */
enum { CHUNK_TILES_LEAST = 8, CHUNK_TILES_MOST = 16 };
/* The same where rows are lanes, in what goes through all steps at once: of the last, some lanes may have no row. */
enum { LANES_CHUNKS = 4 };
/* What the weights of a block take of a core's own cache, at most, while they pass through it. */
enum { PASSING_BYTES = 256 << 10 };
/* Pieces of a member's blocks in each step: who is done takes what is left of the others'. */
enum { PIECES_OF_MEMBER = 8 };
/* bias + x kernel is computed for several steps ahead into this much memory a thread, where that pays, but at least for
 * so many steps; where the weights come from far, for as many as fill so many tiles: 1.15 times as fast for one and two
 * rows of LSTM(1024) of 1024 features (Zen 3). */
enum { PROJECTION_BYTES = 64 << 10, PROJECTION_STEPS_LEAST = 12, PROJECTION_TILES_FAR = 16 };
/* A step begins with the blocks that the last one ended with: those are still in a core's own cache, 1.2 times as fast
 * for one row of 512 units. Not where the weights come from memory, so many times the size of that cache: then every
 * other step would wait for memory alone, not for that and for the shared cache at the same time (2048 units: 0.9; Zen
 * 5). */
enum { TURNING_CACHES = 36 };
/* Steps that a level of a stack waits for before it projects any: fewer fill a tile badly, more leave it behind. */
enum { LEAST_READY = 2 };
/* Between the states of two members, as LF_APART_BYTES between rows that are gone through. */
enum { STATES_APART_BYTES = 1 << 10 };
/* Steps from which on those of few rows are recorded, in both directions, and run again. */
enum { LEAST_TAPED = 4 };

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

/* The blocks are shared out once a call, for divisions in each step would take longer than a small one's products. */
static void share_blocks(const lf_panels *panels, lf_part *part, size_t me, size_t members) {
    part->me = me;
    part->members = members;
    part->even_blocks = panels->block_count / members;
    part->even_members = members - panels->block_count % members;
}

static size_t first_block(const lf_part *part, size_t member) {
    return member * part->even_blocks + (member > part->even_members ? member - part->even_members : 0);
}

static lf_columns columns_of_member(const lf_panels *panels, const lf_part *part, size_t member) {
    return lf_columns_of(panels, first_block(part, member), first_block(part, member + 1));
}

/* Letters for a row of the largest part. */
static size_t letters_of_row(const lf_sequence *s, size_t blocks) {
    const size_t each = lf_letter_holds(s->layer->element_bytes);
    return (blocks * s->layer->panels.block_units + each - 1) / each;
}

const ptrdiff_t *lf_look_up(const lf_sequence *s, const lf_part *part, size_t step, const struct lf_ordered *order,
                            ptrdiff_t *places) {
    const lf_run *run = s->run;
    const size_t width = s->layer->panels.block_count * s->layer->panels.block_width;
    const int32_t *first =
        run->indices + part->row * run->index_row_stride + lf_time_of(run, step) * run->index_step_stride;
    places += step % 2 * part->rows;
    for (size_t i = 0; i < part->rows; i++) {
        const ptrdiff_t row = (ptrdiff_t)(order != NULL ? order[i].row : i) * part->row_step;
        /* Checked before the call; whoever writes to the indices meanwhile gets a wrong row, but none outside. */
        const size_t entry = (size_t)*(const volatile int32_t *)(first + row * run->index_row_stride) % run->table_rows;
        places[i] = (ptrdiff_t)(entry * width);
    }
    return places;
}

/* Whether what the steps look up comes from far, so that it is fetched a step ahead: from a table of several times a
 * core's own cache. 2000 rows of 100 steps of LSTM(64): 1.4 times as fast with 5 MB, 1.7 with 20 (Zen 5). */
int lf_is_far(const lf_sequence *s) {
    enum { CACHES = 4 };
    const lf_panels *panels = &s->layer->panels;
    const double row_bytes = (double)(panels->block_count * panels->block_width * s->layer->element_bytes);
    return (double)s->run->table_rows * row_bytes > CACHES * (double)lf_private_cache_bytes();
}

/* Whether the tiles fetch of x what the next step reads. A core does it by itself where a step is long, or several lie
 * in one line and come in order, but not from many rows in turn: 2000 rows of 32 inputs, LSTM(32), 1.02 times as fast,
 * backwards 1.4; backwards 64 inputs 1.14, 128 1.04, 8 up to 1.2; 1024 in order 0.97 (Zen 5). Backwards also where all
 * of x would fit a cache: a model that takes many rows runs some of them at a time, whose x was not in any before. */
int lf_fetches_x(const lf_sequence *s) {
    enum { LEAST_BYTES = 64, LEAST_BYTES_BACKWARDS = 16, MOST_BYTES = 512, PART_OF_CACHE_BACKWARDS = 16 };
    const lf_run *run = s->run;
    const size_t bytes = s->layer->panels.features * s->layer->element_bytes, cache = lf_private_cache_bytes();
    if (bytes > MOST_BYTES || bytes < (run->go_backwards ? LEAST_BYTES_BACKWARDS : LEAST_BYTES)) return 0;
    const size_t least = run->go_backwards ? cache / PART_OF_CACHE_BACKWARDS : cache;
    return (double)run->batch * (double)run->steps * (double)bytes > (double)least;
}

/* bias + x kernel of `steps` steps from `step` on, for the part's rows and blocks. */
static void project(const lf_sequence *s, const lf_part *part, size_t step, size_t steps) {
    const lf_layer *layer = s->layer;
    const size_t width = (part->block_end - part->block_begin) * layer->panels.block_width;
    const struct lf_rows x = lf_x_at(s, part, step);
    lf_project call = {.rows = part->rows * steps,
                       .block_begin = part->block_begin,
                       .block_end = part->block_end,
                       .x = x.data,
                       .x_stride = x.stride,
                       .projection = part->projection,
                       .projection_stride = (ptrdiff_t)width};
    if (part->rows == 1) call.x_stride = s->run->go_backwards ? -s->run->x_step_stride : s->run->x_step_stride;
    if (part->rows > 1 && steps > 1) { /* side by side, so that the weights are read once for all */
        const size_t bytes = layer->panels.features * layer->element_bytes;
        for (size_t i = 0; i < steps; i++) {
            const struct lf_rows from = lf_x_at(s, part, step + i);
            for (size_t row = 0; row < part->rows; row++)
                memcpy(part->inputs + (i * part->rows + row) * bytes,
                       lf_at(from.data, (ptrdiff_t)row * from.stride, layer->element_bytes), bytes);
        }
        call.x = part->inputs;
        call.x_stride = (ptrdiff_t)layer->panels.features;
    }
    layer->kernels->project(&layer->panels, &call);
}

/* Each step has the same x, as after Keras's RepeatVector. */
static int is_repeated(const lf_run *run) { return run->table == NULL && run->steps > 1 && run->x_step_stride == 0; }

/* One step of the part's blocks; then, where members share, of what others have not begun. */
static void run_step(lf_sequence *s, const lf_part *part, lf_step *call) {
    const lf_panels *panels = &s->layer->panels;
    lf_step_fn *const kernel = s->layer->kernels->step[s->layer->cell];
    if (s->queues == NULL || part->members <= 1) {
        kernel(panels, call);
        return;
    }
    const size_t parity = s->queues[part->me].rounds++ % 2;
    atomic_store_explicit(&s->queues[part->me].next[1 - parity], 0, memory_order_relaxed);
    for (size_t i = 0; i < part->members; i++) {
        const size_t member = (part->me + i) % part->members;
        const size_t begin = first_block(part, member);
        const size_t blocks = first_block(part, member + 1) - begin;
        for (size_t piece; (piece = atomic_fetch_add_explicit(&s->queues[member].next[parity], 1,
                                                              memory_order_relaxed)) < PIECES_OF_MEMBER;) {
            if (call->descending) piece = PIECES_OF_MEMBER - 1 - piece;
            call->block_begin = begin + blocks * piece / PIECES_OF_MEMBER;
            call->block_end = begin + blocks * (piece + 1) / PIECES_OF_MEMBER;
            if (call->block_begin < call->block_end) kernel(panels, call);
        }
    }
}

/* What the others wrote comes all at once, instead of line by line as the products ask for it. */
static void fetch_state(const lf_sequence *s, const lf_part *part, struct lf_rows h) {
    enum { LINE = 64, LINES = 64 };
    const size_t bytes = s->layer->element_bytes, row_bytes = s->layer->panels.units * bytes;
    if (part->rows * row_bytes > LINES * LINE) return;
    for (size_t row = 0; row < part->rows; row++)
        for (size_t byte = 0; byte < row_bytes; byte += LINE)
            __builtin_prefetch(h.data + (ptrdiff_t)row * h.stride * (ptrdiff_t)bytes + byte);
}

/* A member's part of h in its letters of a round, row by row: written by itself, read by the others. */
static void pass_letters(lf_sequence *s, const lf_part *part, struct lf_rows h, size_t member, unsigned round) {
    const size_t bytes = s->layer->element_bytes, each = lf_letter_holds(bytes);
    const lf_columns units = columns_of_member(&s->layer->panels, part, member);
    lf_letter *letter = s->letters + (round % 2 * part->members + member) * s->chunk_rows * part->letters;
    for (size_t row = 0; row < part->rows; row++, letter += part->letters) {
        char *values = h.data + ((ptrdiff_t)row * h.stride + (ptrdiff_t)units.begin) * (ptrdiff_t)bytes;
        for (size_t unit = 0, i = 0; unit < units.count; unit += each, i++) {
            const size_t count = lf_smaller(units.count - unit, each) * bytes;
            if (member == part->me) {
                lf_letter_write(letter + i, values + unit * bytes, count, round);
                continue;
            }
            lf_barrier_await(&s->barrier, (int)part->me, (int)member, &letter[i].round);
            memcpy(values + unit * bytes, letter[i].values, count);
        }
    }
}

/* After a step, of which `h` is the new state: the member tells the others what it has, and goes on to what they need
 * not wait for. */
static unsigned tell(lf_sequence *s, const lf_part *part, struct lf_rows h) {
    const unsigned round = lf_barrier_next_round(&s->barrier, (int)part->me, (int)part->members);
    pass_letters(s, part, h, part->me, round);
    lf_barrier_arrive(&s->barrier, (int)part->me);
    return round;
}

/* Whether the team goes on. */
static int hear(lf_sequence *s, const lf_part *part, struct lf_rows h, unsigned round) {
    for (size_t i = 1; i < part->members; i++) pass_letters(s, part, h, (part->me + i) % part->members, round);
    return lf_barrier_goes_on(&s->barrier, (int)part->me);
}

/* The parts of c that others had until the team scattered: each in its own states where `c` lies in those of member 0.
 */
static void gather_cells(const lf_sequence *s, const lf_part *part, struct lf_rows c) {
    for (size_t member = 1; member < part->members; member++) {
        const struct lf_rows from = {c.data + member * s->private_bytes, c.stride};
        lf_copy_rows(s, c, from, part->rows, columns_of_member(&s->layer->panels, part, member));
    }
}

/* Steps whose x is there, at least `least` of them: of a stack, those that the level below has done. */
static size_t await_steps(const lf_sequence *s, size_t least) {
    if (s->passed == NULL || s->level == 0) return s->run->steps;
    return lf_barrier_await_round(s->passed, s->level - 1, (unsigned)least);
}

/* Where the steps' x comes from. */
struct input {
    ptrdiff_t x_step_bytes;
    size_t projected_begin, projected_end; /* steps */
    int looks_ahead;
    const ptrdiff_t *places; /* of the step at hand, where they were looked up before it */
};

static struct input begin_input(const lf_sequence *s, const lf_part *part, lf_step *call) {
    const lf_run *run = s->run;
    const ptrdiff_t x_step = run->go_backwards ? -run->x_step_stride : run->x_step_stride;
    struct input input = {.x_step_bytes = x_step * (ptrdiff_t)s->layer->element_bytes,
                          .looks_ahead = run->table != NULL && lf_is_far(s)};
    if (run->table == NULL && s->project_steps == 0) {
        call->x = lf_x_at(s, part, 0).data;
        call->x_ahead = lf_fetches_x(s) ? x_step : 0;
    }
    return input;
}

/* Gives the call what the step reads: a row of the table each, the projection of some steps made at once, or x. */
static void take_input(const lf_sequence *s, const lf_part *part, size_t step, struct input *input, lf_step *call) {
    const lf_run *run = s->run;
    const lf_panels *panels = &s->layer->panels;
    const size_t bytes = s->layer->element_bytes;
    const int last = step + 1 == run->steps;
    if (run->table != NULL) {
        call->projection = lf_at(run->table, (ptrdiff_t)(part->block_begin * panels->block_width), bytes);
        call->places = input->places != NULL ? input->places : lf_look_up(s, part, step, NULL, part->places);
        call->places_ahead = input->places =
            input->looks_ahead && !last ? lf_look_up(s, part, step + 1, NULL, part->places) : NULL;
    } else if (s->project_steps > 0) {
        const size_t width = (part->block_end - part->block_begin) * panels->block_width;
        const int repeated = is_repeated(run);
        if (step >= input->projected_end) {
            const size_t ready = await_steps(s, lf_smaller(step + LEAST_READY, run->steps));
            input->projected_begin = step;
            input->projected_end = repeated ? run->steps : lf_smaller(step + s->project_steps, ready);
            project(s, part, step, repeated ? 1 : input->projected_end - step);
        }
        const size_t ahead = repeated ? 0 : step - input->projected_begin;
        call->projection = part->projection + ahead * part->rows * width * bytes;
        call->projection_stride = (ptrdiff_t)width;
    } else {
        (void)await_steps(s, step + 1);
        if (last) call->x_ahead = 0;
    }
}

int lf_turns(const lf_layer *layer) { return layer->weight_bytes <= TURNING_CACHES * lf_private_cache_bytes(); }

int lf_skips_h(const lf_layer *layer, const lf_run *run) {
    return run->initial_h == NULL && layer->panels.recurrent != NULL && layer->panels.zeros_least > 0;
}

/* Takes the part's rows and blocks through all steps: whether its member is still needed. Where the team scatters,
 * member 0 goes on with all blocks; what it projects begins where that of all members began. */
static int run_part(lf_sequence *s, lf_part *part) {
    const lf_layer *layer = s->layer;
    const lf_run *run = s->run;
    lf_columns own = lf_columns_of(&layer->panels, part->block_begin, part->block_end);
    const ptrdiff_t stride = (ptrdiff_t)s->state_stride;
    const int has_state = layer->cell != LF_DENSE, has_cell = layer->cell == LF_LSTM;
    const int masked = run->mask != NULL && has_state && !lf_all_valid(s, part);
    const int turns = lf_turns(layer), skips_h = lf_skips_h(layer, run);

    const int is_whole = part->members <= 1 && s->passed == NULL;
    if (masked && is_whole && s->ordered_bytes > 0 && part->rows > 1 && lf_run_ordered(s, part)) return 1;
    if (is_whole && lf_takes_lanes(s, part->rows)) {
        lf_run_lanes(s, part);
        return 1;
    }

    struct lf_rows h_prev = lf_state_of(s, part, run->initial_h);
    struct lf_rows c_prev = lf_state_of(s, part, run->initial_c);
    struct lf_rows final_c = {NULL, 0};
    if (run->final_c != NULL) final_c = lf_state_of(s, part, run->final_c);
    lf_step call = {.rows = part->rows,
                    .block_begin = part->block_begin,
                    .block_end = part->block_end,
                    .x_stride = part->row_step * run->x_row_stride,
                    .row_sums = part->row_sums};
    struct input input = begin_input(s, part, &call);
    lf_tape tapes[2]; /* of the steps of either direction */
    tapes[0].state = tapes[1].state = LF_TAPE_EMPTY;
    const int is_taped = run->steps >= LEAST_TAPED && (s->queues == NULL || part->members <= 1);
    struct lf_rows y = lf_y_at(s, part, 0);
    const ptrdiff_t y_step_bytes = run->return_sequences ? run->y_step_stride * (ptrdiff_t)layer->element_bytes : 0;

    for (size_t step = 0; step < run->steps; step++, y.data += y_step_bytes) {
        const int last = step + 1 == run->steps;
        const int writes = s->letters != NULL && part->members > 1;
        const int gives_y = !masked && (run->return_sequences || last), into_y = gives_y && !writes;
        const struct lf_rows h_next = into_y ? y : (struct lf_rows){part->h[step % 2], stride};
        struct lf_rows c_next = {NULL, 0};
        if (has_cell) {
            c_next = (struct lf_rows){part->c[masked ? step % 2 : 0], stride};
            if (last && !masked && final_c.data != NULL) c_next = final_c;
        }

        if (!masked || lf_any_valid(s, part, step)) {
            take_input(s, part, step, &input, &call);
            call.descending = turns && step % 2 == 1;
            call.zeros = skips_h && step == 0 ? layer->panels.units : 0;
            call.tape = is_taped && call.zeros == 0 ? &tapes[call.descending] : NULL;
            call.h_prev = has_state ? h_prev.data : NULL;
            call.h_prev_stride = h_prev.stride;
            call.h_next = h_next.data;
            call.h_next_stride = h_next.stride;
            call.c_prev = c_prev.data;
            call.c_prev_stride = c_prev.stride;
            call.c_next = c_next.data;
            call.c_next_stride = c_next.stride;
            run_step(s, part, &call);
        } else {
            input.places = NULL;
        }
        if (masked) lf_apply_mask(s, part, step, own, h_prev, h_next, c_prev, c_next);
        if (s->passed != NULL) lf_barrier_pass(s->passed, s->level, last);
        const int meets = part->members > 1 && !(writes && last);
        const unsigned round = meets && writes ? tell(s, part, h_next) : 0;
        if (gives_y && writes) lf_copy_rows(s, y, h_next, part->rows, own);
        h_prev = h_next;
        c_prev = c_next;
        if (meets && !(writes ? hear(s, part, h_next, round)
                              : lf_barrier_wait(&s->barrier, (int)part->me, (int)part->members))) {
            if (part->me > 0) return 0;
            if (writes && has_cell) gather_cells(s, part, c_next);
            part->members = 0;
            part->block_end = call.block_end = layer->panels.block_count;
            call.block_begin = 0;
            tapes[0].state = tapes[1].state = LF_TAPE_EMPTY;
            own = lf_columns_of(&layer->panels, part->block_begin, part->block_end);
            input.projected_end = 0;
        }
        if (part->members > 1 && !writes && !last) fetch_state(s, part, h_next);
        if (call.x != NULL) call.x = (const char *)call.x + input.x_step_bytes;
    }

    if (run->final_h != NULL && has_state) lf_copy_rows(s, lf_state_of(s, part, run->final_h), h_prev, part->rows, own);
    if (final_c.data != NULL && c_prev.data != final_c.data) lf_copy_rows(s, final_c, c_prev, part->rows, own);
    return 1;
}

static void put_states(const lf_sequence *s, lf_part *part, char *memory) {
    for (int i = 0; i < 2; i++) {
        part->h[i] = memory + (size_t)i * s->state_bytes;
        part->c[i] = memory + (size_t)(2 + i) * s->state_bytes;
    }
}

static lf_part part_in(const lf_sequence *s, char *memory) {
    lf_part part = {0};
    put_states(s, &part, memory);
    part.projection = memory + 4 * s->state_bytes;
    part.row_sums = part.projection + s->projection_bytes;
    part.inputs = part.row_sums + s->row_sum_bytes;
    part.places = (ptrdiff_t *)part.inputs;
    return part;
}

/* `down`: the last row comes first. Of masked rows, which are often sorted by their length, each chunk takes some of
 * all lengths. */
static int run_chunk(lf_sequence *s, lf_part *part, size_t chunk, int down) {
    const size_t batch = s->run->batch, units = (batch + s->row_unit - 1) / s->row_unit;
    const size_t row = lf_smaller(lf_part_begin(units, chunk, s->chunks) * s->row_unit, batch);
    part->rows = lf_smaller(lf_part_begin(units, chunk + 1, s->chunks) * s->row_unit, batch) - row;
    if (part->rows == 0) return 1; /* fewer units than chunks */
    part->row = (ptrdiff_t)(down ? row + part->rows - 1 : row);
    part->row_step = down ? -1 : 1;
    if (s->run->mask != NULL && s->members > 1) {
        part->row = (ptrdiff_t)chunk;
        part->row_step = (ptrdiff_t)s->chunks;
    }
    return run_part(s, part);
}

/* Each member's own chunks, then those that the others have not begun. In every call the same member begins with the
 * same rows, whose outputs are still in its cache: 1.09 times as fast for 3000 rows of LSTM(8) on cores that share no
 * cache (Zen 5). And of every two neighbours the one runs away from the other, for a core fetches ahead rows that come
 * next in its direction, out of the hands of whoever writes them: there 1.2 times as fast for 32 rows of LSTM(32). */
static void run_chunks(lf_sequence *s, lf_part *part, size_t me, size_t team) {
    const size_t own = s->chunks / s->members;
    if (team == 1) {
        for (size_t chunk = 0; chunk < s->chunks; chunk++) run_chunk(s, part, chunk, 0);
        return;
    }
    for (size_t i = 0; i < s->members; i++) {
        const size_t member = (me + i) % s->members;
        for (size_t chunk;
             (chunk = atomic_fetch_add_explicit(&s->queues[member].next[0], 1, memory_order_relaxed)) < own;)
            run_chunk(s, part, member * own + chunk, member % 2 == 0);
    }
}

void lf_sequence_share(lf_sequence *s, size_t me, size_t team) {
    const lf_panels *panels = &s->layer->panels;
    char *memory = s->workspace + s->state_stride * s->layer->element_bytes;
    if (s->plan.split == LF_BY_UNITS) {
        lf_part part = part_in(s, memory);
        share_blocks(panels, &part, me, team);
        part.block_begin = first_block(&part, me);
        part.block_end = first_block(&part, me + 1);
        part.projection +=
            part.block_begin * panels->block_width * s->project_steps * s->chunk_rows * s->layer->element_bytes;
        part.inputs += me * s->input_bytes;
        part.places = (ptrdiff_t *)part.inputs;
        if (s->letters != NULL) {
            put_states(s, &part, s->private_states + me * s->private_bytes);
            part.letters = letters_of_row(s, (panels->block_count + team - 1) / team);
        }
        if (s->measures_barrier && team > 1) lf_barrier_measure(&s->barrier, (int)me, (int)team);
        for (size_t chunk = 0; chunk < s->chunks && run_chunk(s, &part, chunk, 0); chunk++) continue;
        return;
    }
    lf_part part = part_in(s, memory + me * s->member_bytes);
    part.block_end = panels->block_count;
    run_chunks(s, &part, me, team);
}

static void run_member(void *context, int index, int count) {
    lf_sequence *s = context;
    const unsigned long long before = lf_member_begin(&s->watch, count);
    lf_sequence_share(s, (size_t)index, (size_t)count);
    lf_member_end(&s->watch, count, before);
}

/* x and h of the rows are read again for every block of weights: as many rows as a core's own cache holds beside such a
 * block. A core may have to share that cache with another that works for someone else: on a Zen 3, whose 512 KiB leave
 * room for 48 rows of 1024 inputs, those that fill three quarters of it were 2 to 8 % slower; on a Zen 5 with 1 MiB, 96
 * rows of 1024 to 3000 inputs are 1 to 3 % faster than 48. */
size_t lf_rows_of_chunk(const lf_layer *layer, size_t row_bytes) {
    const size_t tile = layer->kernels->tile_rows;
    const size_t cache = lf_private_cache_bytes(), passing = lf_smaller(layer->weight_bytes, PASSING_BYTES);
    const size_t rows = (cache > passing ? cache - passing : 0) / row_bytes / tile * tile;
    return lf_smaller(larger(rows, CHUNK_TILES_LEAST * tile), CHUNK_TILES_MOST * tile);
}

/* As many chunks for each member. Small ones, so that a thread which a neighbour slows leaves some to the others even
 * of few rows, only where there was one lately: they cost 3 to 6 % (32 rows of LSTM(128), 17 of LSTM(100)). */
static void share_rows(lf_sequence *s) {
    const size_t batch = s->run->batch, rows = (batch + s->members - 1) / s->members; /* of a member */
    if (s->members > 1 && lf_crowd_lately())
        s->chunk_rows = lf_smaller(s->chunk_rows, LF_CROWDED_TILES * s->layer->kernels->tile_rows);
    s->row_unit = lf_takes_lanes(s, rows) ? larger(s->layer->kernels->lanes, 1) : 1;
    s->chunk_rows = larger(lf_round_up(s->chunk_rows, s->row_unit), 1);
    s->chunks = s->members * larger((rows + s->chunk_rows - 1) / s->chunk_rows, 1);
    const size_t units = (batch + s->row_unit - 1) / s->row_unit;
    s->chunk_rows = larger((units + s->chunks - 1) / s->chunks * s->row_unit, 1);
}

/* Whether the projection of many steps of so many rows pays: it reads the kernel once for all of them, and with few
 * rows fills the tiles that a single step leaves empty. But then it is written, read, and a step's h begins with it:
 * where the kernel is near anyway, tiles of several rows are 1.02 to 1.2 times as fast without (those of two up to
 * twice the first cache level, and one row while all weights stay there, which is 1.04 to 1.12; Zen 4). */
static int projects_ahead(const lf_sequence *s, size_t rows) {
    const lf_panels *panels = &s->layer->panels;
    if (s->run->table != NULL || s->run->steps == 1 || s->layer->cell == LF_DENSE || panels->candidate != NULL)
        return 0;
    const size_t weight_bytes = s->layer->weight_bytes, near = panels->near_bytes;
    const size_t kernel_bytes = panels->features * panels->block_count * panels->block_width * s->layer->element_bytes;
    const int streamed = weight_bytes > lf_private_cache_bytes();
    if (streamed && rows <= 8 && panels->features >= 64) return 1;
    if (rows >= s->layer->kernels->tile_rows || panels->features < 8) return 0;
    if (rows == 1) return kernel_bytes > near / 4 || weight_bytes > near / 4 * 3;
    return streamed || (rows == 2 && kernel_bytes > 2 * near);
}

/* Steps of x to project ahead, 0 where each step should read x itself. */
static size_t steps_to_project(const lf_sequence *s) {
    const lf_panels *panels = &s->layer->panels;
    const lf_run *run = s->run;
    if (is_repeated(run) && s->layer->cell != LF_DENSE && panels->candidate == NULL) return 1;
    if (!projects_ahead(s, s->chunk_rows)) return 0;
    const size_t step_bytes = s->chunk_rows * panels->block_count * panels->block_width * s->layer->element_bytes;
    size_t steps = larger(PROJECTION_BYTES / step_bytes, PROJECTION_STEPS_LEAST);
    const size_t members = s->plan.split == LF_BY_UNITS ? larger((size_t)s->plan.threads, 1) : 1;
    if (panels->far || panels->block_count / members > panels->own_blocks)
        steps = larger(steps, PROJECTION_TILES_FAR * s->layer->kernels->tile_rows / s->chunk_rows);
    const size_t times = larger((run->steps + steps - 1) / steps, 1); /* of nearly equal length */
    return (run->steps + times - 1) / times;
}

/* A step that needs the sums of whole rows together, in work space. */
static int gathers_rows(const lf_panels *panels) { return panels->row_activations || panels->candidate != NULL; }

int lf_sequence_threads(const lf_run *run) { return run->threads > 0 ? run->threads : lf_threads_free(); }

lf_status lf_sequence_plan(lf_sequence *s, int most, double region_ns) {
    const lf_layer *layer = s->layer;
    const lf_run *run = s->run;
    const lf_panels *panels = &layer->panels;
    const size_t bytes = layer->element_bytes;
    const size_t inputs = (run->table != NULL ? 0 : panels->features) + (panels->recurrent == NULL ? 0 : panels->units);
    const double row_steps = (double)run->batch * (double)run->steps, vectors = lf_sum_vectors(panels);
    const double x_steps = is_repeated(run) ? (double)run->batch : row_steps;
    const double x_products = run->table != NULL ? 0 : x_steps * vectors * (double)panels->features;
    const double h_products = panels->recurrent == NULL ? 0 : row_steps * vectors * (double)panels->units;
    const int projects = is_repeated(run) || run->table != NULL; /* then each step reads a projection instead of x */
    const size_t projected = projects ? panels->block_count * panels->block_width : 0;
    s->chunk_rows = lf_takes_lanes(s, run->batch) ? LANES_CHUNKS * lf_lanes_rows(layer)
                                                  : lf_rows_of_chunk(layer, (inputs + projected) * bytes);
    const lf_work work = {.rows = run->batch,
                          .steps = run->steps,
                          .blocks = panels->block_count,
                          .last_block = lf_last_block(panels),
                          .chunk_rows = s->chunk_rows,
                          .products = x_products + h_products,
                          .tiled_products = projects_ahead(s, run->batch) ? x_products : 0,
                          .updates = row_steps * lf_state_vectors(layer, run->batch),
                          .product_ns = lf_product_ns(layer->kernels, x_products + h_products),
                          .weight_bytes = layer->weight_bytes,
                          .state_bytes = (double)(s->chunk_rows < run->batch ? s->chunk_rows : run->batch) *
                                         (double)(panels->units * bytes),
                          .writes_letters = run->batch < layer->kernels->tile_rows || run->mask != NULL,
                          .region_ns = region_ns,
                          .splits_by_units = !gathers_rows(panels)};
    s->plan = lf_plan_threads(&work, most);

    s->members = s->plan.split == LF_BY_ROWS ? larger((size_t)s->plan.threads, 1) : 1;
    share_rows(s);
    s->project_steps = steps_to_project(s);

    /* Sizes of the work space; the arrays that the caller brought are at least as large, so only sums can overflow. */
    size_t state = 0, projection = 0, inputs_ahead = 0, sums = 0, total;
    s->state_stride = lf_round_up(panels->units, layer->kernels->lanes);
    int fits = 1;
    if (layer->cell != LF_DENSE) {
        fits = lf_multiply(s->chunk_rows, s->state_stride, &state) && lf_multiply(state, bytes, &state);
        const size_t ahead = s->project_steps * s->chunk_rows;
        fits = fits && lf_multiply(ahead, panels->block_count * panels->block_width, &projection) &&
               lf_multiply(projection, bytes, &projection);
        if (s->project_steps > 1 && s->chunk_rows > 1)
            fits = fits && lf_multiply(ahead, panels->features * bytes, &inputs_ahead);
        if (run->table != NULL) fits = fits && lf_multiply(s->chunk_rows, 2 * sizeof(ptrdiff_t), &inputs_ahead);
        s->ordered_bytes = lf_ordered_bytes(s, s->chunk_rows);
        inputs_ahead = larger(larger(inputs_ahead, s->ordered_bytes), lf_lanes_input_bytes(s));
    }
    if (gathers_rows(panels))
        fits =
            fits && lf_multiply(s->chunk_rows, LF_ROW_SUMS * panels->units, &sums) && lf_multiply(sums, bytes, &sums);
    if (!fits) return LF_NO_MEMORY;
    s->state_bytes = lf_round_up(state, LF_ALIGNMENT);
    s->projection_bytes = lf_round_up(projection, LF_ALIGNMENT);
    s->row_sum_bytes = lf_round_up(sums, LF_ALIGNMENT);
    s->input_bytes = lf_round_up(inputs_ahead, LF_ALIGNMENT);
    if (!lf_multiply(4, s->state_bytes, &total) || !lf_sum(total, s->projection_bytes, &total) ||
        !lf_sum(total, s->row_sum_bytes, &total) || !lf_sum(total, s->input_bytes, &total) ||
        !lf_sum(total, s->members > 1 ? LF_APART_BYTES : 0, &total))
        return LF_NO_MEMORY;
    s->member_bytes = total;
    return LF_OK;
}

lf_status lf_sequence_prepare(lf_sequence *s, char *stack) {
    const size_t zero_bytes = s->state_stride * s->layer->element_bytes;
    const size_t threads = larger((size_t)s->plan.threads, 1);
    const int meet = s->plan.split == LF_BY_UNITS && threads > 1;
    /* A masked or projected part belongs to its member alone, and the pieces of a few rows are too small. */
    const int projected = s->project_steps > 0 || s->run->table != NULL;
    const int share = meet && !projected && s->run->mask == NULL && s->chunk_rows >= s->layer->kernels->tile_rows;
    const size_t blocks = s->layer->panels.block_count;
    const int writes = meet && !share && s->run->steps > 1 &&
                       s->chunk_rows * letters_of_row(s, (blocks + threads - 1) / threads) <= LF_LETTERS_MOST;
    /* A team may be smaller, and its largest part and its last letter fuller or emptier than planned. */
    const size_t letters = letters_of_row(s, blocks + threads) + threads;
    const size_t letter_bytes = writes ? 2 * s->chunk_rows * letters * sizeof(lf_letter) : 0;
    s->private_bytes = writes ? 4 * s->state_bytes + STATES_APART_BYTES : 0;
    const size_t arrival_bytes = meet ? threads * sizeof(lf_arrival) : 0;
    const size_t queue_bytes = share || s->members > 1 ? threads * sizeof(lf_queue) : 0;
    size_t total, inputs;
    if (!lf_multiply(s->members, s->member_bytes, &total) ||
        !lf_sum(total, letter_bytes + arrival_bytes + queue_bytes + zero_bytes + threads * s->private_bytes, &total) ||
        !lf_multiply(threads - s->members, s->input_bytes, &inputs) || !lf_sum(total, inputs, &total))
        return LF_NO_MEMORY;
    char *memory = total <= LF_STACK_BYTES && stack != NULL ? stack : lf_allocate(total);
    if (memory == NULL) return LF_NO_MEMORY;
    s->allocated = memory == stack ? NULL : memory;
    s->letters = writes ? (lf_letter *)memory : NULL;
    s->private_states = memory + letter_bytes;
    memset(memory, 0, letter_bytes);
    memory += letter_bytes + threads * s->private_bytes;
    memset(memory, 0, arrival_bytes + queue_bytes + zero_bytes);
    s->barrier.arrivals = (lf_arrival *)memory;
    s->measures_barrier = meet && lf_barrier_measure_due();
    s->queues = queue_bytes > 0 ? (lf_queue *)(memory + arrival_bytes) : NULL;
    s->workspace = memory + arrival_bytes + queue_bytes;
    return LF_OK;
}

void lf_sequence_release(lf_sequence *s) {
    lf_release(s->allocated);
    s->workspace = s->allocated = NULL;
    s->barrier.arrivals = NULL;
    s->queues = NULL;
    s->letters = NULL;
    s->private_states = NULL;
}

lf_status lf_sequence_run_planned(lf_sequence *s) {
    char stack[LF_STACK_BYTES] __attribute__((aligned(LF_ALIGNMENT)));
    const lf_status status = lf_sequence_prepare(s, stack);
    if (status != LF_OK) return status;
    lf_run_planned(&s->plan, &s->barrier, &s->watch, run_member, s);
    lf_sequence_release(s);
    return LF_OK;
}

lf_status lf_sequence_run(const lf_layer *layer, const lf_run *run) {
    lf_sequence s = {.layer = layer, .run = run};
    const lf_status status = lf_sequence_plan(&s, lf_sequence_threads(run), 0);
    return status == LF_OK ? lf_sequence_run_planned(&s) : status;
}
