/* Threads: teams of every size give the bits of one thread, also with several callers at once on one layer, and where
 * they scatter and leave the rest to their first member; and the instruction set that a thread selects. Linked with
 * --wrap for what tells them so, to scatter them at will. `make check-tsan` builds it without OpenMP: linked with
 * --wrap=lf_team_run, the pthread team below takes its place, so that ThreadSanitizer sees every thread start and end;
 * and runs it --without-barrier, too, where it has to find the races. Next: csrc/core/barrier.c, and
 * csrc/core/sequence.c for the scheduling. */
#include <lstmfast.h>
#include <core/barrier.h>
#include <core/threads.h>

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CALLERS = 3, MOST_TEAM = 8 };

/* ---- the team that takes OpenMP's place ---------------------------------------------------------------------------
 */

void __wrap_lf_team_run(int threads, lf_member_fn *member, void *context);
int __real_lf_barrier_wait(lf_barrier *barrier, int me, int count);
int __wrap_lf_barrier_wait(lf_barrier *barrier, int me, int count);
void __real_lf_barrier_await(lf_barrier *barrier, int me, int other, const atomic_uint *sign);
void __wrap_lf_barrier_await(lf_barrier *barrier, int me, int other, const atomic_uint *sign);
int __real_lf_barrier_goes_on(const lf_barrier *barrier, int me);
int __wrap_lf_barrier_goes_on(const lf_barrier *barrier, int me);
unsigned __real_lf_barrier_await_round(lf_barrier *barrier, int other, unsigned round);
unsigned __wrap_lf_barrier_await_round(lf_barrier *barrier, int other, unsigned round);

static atomic_int teams_started, teams_scattered;
static int without_barrier;
static unsigned scatter_round; /* 0: only where the barrier says so */

struct member {
    lf_member_fn *function;
    void *context;
    int index, count;
};

static void *run_member(void *argument) {
    const struct member *member = argument;
    member->function(member->context, member->index, member->count);
    return NULL;
}

void __wrap_lf_team_run(int threads, lf_member_fn *function, void *context) {
    pthread_t handles[MOST_TEAM];
    struct member members[MOST_TEAM];
    const int count = threads < MOST_TEAM ? threads : MOST_TEAM;
    if (count > 1) atomic_fetch_add(&teams_started, 1);
    for (int i = 1; i < count; i++) {
        members[i] = (struct member){function, context, i, count};
        if (pthread_create(&handles[i], NULL, run_member, &members[i]) != 0) abort();
    }
    function(context, 0, count);
    for (int i = 1; i < count; i++) pthread_join(handles[i], NULL);
}

static int scatters(const lf_barrier *barrier, int me) {
    const int now = atomic_load(&barrier->arrivals[me].round) == scatter_round;
    if (now && me == 0) atomic_fetch_add(&teams_scattered, 1);
    return now;
}

int __wrap_lf_barrier_wait(lf_barrier *barrier, int me, int count) {
    if (without_barrier) return 1;
    const int going_on = __real_lf_barrier_wait(barrier, me, count);
    return scatters(barrier, me) ? 0 : going_on;
}

void __wrap_lf_barrier_await(lf_barrier *barrier, int me, int other, const atomic_uint *sign) {
    if (!without_barrier) __real_lf_barrier_await(barrier, me, other, sign);
}

unsigned __wrap_lf_barrier_await_round(lf_barrier *barrier, int other, unsigned round) {
    return without_barrier ? round : __real_lf_barrier_await_round(barrier, other, round);
}

int __wrap_lf_barrier_goes_on(const lf_barrier *barrier, int me) {
    return scatters(barrier, me) ? 0 : __real_lf_barrier_goes_on(barrier, me);
}

/* ---- layers and calls ---------------------------------------------------------------------------------------------
 */

static unsigned long long random_state = 1234567;

static float uniform(void) {
    random_state = random_state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (float)(random_state >> 40) / 16777216.0f - 0.5f;
}

static float *random_array(size_t count) {
    float *array = malloc(count * sizeof *array);
    for (size_t i = 0; i < count; i++) array[i] = uniform();
    return array;
}

struct problem {
    lf_cell cell;
    size_t features, units, batch, steps;
    int masked, repeated, indexed, sequences;
    int upper;     /* layers of as many features as units on top of it */
    size_t places; /* of a grid; 0: rows are sequences. Windows of three, of x and of h, and as many features */
};

/* Few rows are split by units, with a barrier after every step; many by rows. */
static const struct problem problems[] = {
    {.cell = LF_LSTM, .features = 20, .units = 100, .batch = 1, .steps = 18, .sequences = 1},
    {.cell = LF_LSTM, .features = 20, .units = 100, .batch = 2, .steps = 20, .masked = 1},
    {.cell = LF_LSTM, .features = 9, .units = 130, .batch = 1, .steps = 15, .repeated = 1, .sequences = 1},
    {.cell = LF_LSTM, .features = 12, .units = 96, .batch = 1, .steps = 15, .indexed = 1},
    {.cell = LF_LSTM, .features = 16, .units = 200, .batch = 7, .steps = 12, .sequences = 1},
    {.cell = LF_LSTM, .features = 3, .units = 24, .batch = 70, .steps = 6, .sequences = 1},
    {.cell = LF_GRU, .features = 70, .units = 90, .batch = 1, .steps = 15, .masked = 1, .sequences = 1},
    {.cell = LF_GRU_RESET_BEFORE, .features = 5, .units = 30, .batch = 12, .steps = 9},
    {.cell = LF_SIMPLE_RNN, .features = 33, .units = 200, .batch = 1, .steps = 18, .sequences = 1},
    {.cell = LF_DENSE, .features = 300, .units = 260, .batch = 3, .steps = 1},
    {.cell = LF_LSTM, .features = 5, .units = 60, .batch = 1, .steps = 60, .sequences = 1, .upper = 1},
    {.cell = LF_GRU, .features = 40, .units = 40, .batch = 3, .steps = 40, .masked = 1, .sequences = 1, .upper = 3},
    {.cell = LF_LSTM, .features = 4, .units = 20, .batch = 3, .steps = 12, .sequences = 1, .places = 90},
    {.cell = LF_LSTM, .features = 2, .units = 24, .batch = 9, .steps = 6, .masked = 1, .places = 30},
    {.cell = LF_LSTM, .features = 1, .units = 8, .batch = 120, .steps = 2, .places = 100}, /* several bands */
    {.cell = LF_DENSE, .features = 9, .units = 33, .batch = 2, .steps = 1, .places = 500},
};

enum { WINDOW = 3 };

static size_t at_once(const struct problem *p) { return p->places > 0 ? p->places : 1; }

/* Windows of three along a line of places. */
static lf_windows windows_of(size_t channels, size_t places) {
    return (lf_windows){.channels = channels,
                        .size = {1, 1, places},
                        .extent = {1, 1, WINDOW},
                        .stride = {1, 1, 1},
                        .dilation = {1, 1, 1},
                        .before = {0, 0, 1},
                        .axis_stride = {0, 0, (ptrdiff_t)channels},
                        .channel_stride = 1};
}

/* What a call reads, shared by all callers, and what one thread made of it. */
struct job {
    struct problem problem;
    lf_layer *layer, *upper;
    float *x, *h, *c, *table;
    int32_t *indices;
    uint8_t *mask;
    float *y, *final_h, *final_c;
    size_t outputs, states;
};

static atomic_int failures;

enum { LEVELS_MOST = 4 };

/* The call at the bottom, and others on top of it; the last one writes where `call` was to. */
static lf_status run_stack(const struct job *job, lf_run call) {
    const int levels = 1 + job->problem.upper;
    const lf_layer *layers[LEVELS_MOST];
    const lf_run *runs[LEVELS_MOST];
    lf_run own[LEVELS_MOST];
    void *const y = call.y;
    for (int i = 0; i < levels; i++) {
        layers[i] = i == 0 ? job->layer : job->upper;
        own[i] = call;
        own[i].y = i + 1 < levels ? malloc(job->outputs * sizeof(float)) : y;
        if (i > 0) {
            own[i].x = own[i - 1].y;
            own[i].x_row_stride = call.y_row_stride;
            own[i].x_step_stride = call.y_step_stride;
            own[i].initial_h = own[i].initial_c = NULL;
        }
        if (i + 1 < levels) own[i].final_h = own[i].final_c = NULL;
        runs[i] = &own[i];
    }
    const lf_status status = lf_layers_run(layers, runs, levels, LF_ABOVE);
    for (int i = 0; i + 1 < levels; i++) free(own[i].y);
    return status;
}

static void run_job(const struct job *job, int threads, float *y, float *h, float *c) {
    const struct problem *p = &job->problem;
    const int has_state = p->cell != LF_DENSE, has_cell = p->cell == LF_LSTM;
    const ptrdiff_t x_width = (ptrdiff_t)(p->features * at_once(p)), y_width = (ptrdiff_t)(p->units * at_once(p));
    const lf_convolution convolution = {
        .places = {1, 1, p->places}, .x = windows_of(p->features, p->places), .h = windows_of(p->units, p->places)};
    memcpy(h, job->h, job->states * sizeof *h); /* the states are updated in place */
    memcpy(c, job->c, job->states * sizeof *c);
    const lf_run call = {.batch = p->batch,
                         .steps = p->steps,
                         .x = job->x,
                         .x_row_stride = (ptrdiff_t)p->steps * x_width,
                         .x_step_stride = p->repeated ? 0 : x_width,
                         .mask = p->masked ? job->mask : NULL,
                         .mask_row_stride = (ptrdiff_t)p->steps,
                         .mask_step_stride = 1,
                         .initial_h = !has_state      ? NULL
                                      : p->places > 0 ? job->h
                                                      : h, /* not in place over grids */
                         .initial_c = !has_cell       ? NULL
                                      : p->places > 0 ? job->c
                                                      : c,
                         .y = y,
                         .y_row_stride = p->sequences ? (ptrdiff_t)p->steps * y_width : y_width,
                         .y_step_stride = p->sequences ? y_width : 0,
                         .final_h = has_state ? h : NULL,
                         .final_c = has_cell ? c : NULL,
                         .return_sequences = p->sequences,
                         .threads = threads,
                         .table = p->indexed ? job->table : NULL,
                         .table_rows = 5,
                         .indices = job->indices,
                         .index_row_stride = (ptrdiff_t)p->steps,
                         .index_step_stride = 1,
                         .convolution = p->places > 0 ? &convolution : NULL};
    const lf_status status = p->upper > 0 ? run_stack(job, call) : lf_layer_run(job->layer, &call);
    if (status != LF_OK) atomic_fetch_add(&failures, 1);
}

static struct job make_job(const struct problem *p) {
    static const size_t gates[LF_CELL_COUNT] = {4, 3, 3, 1, 1};
    const size_t columns = gates[p->cell] * p->units, inputs = p->batch * p->steps;
    const size_t windows = (p->features + (p->cell == LF_LSTM ? p->units : 0)) * WINDOW;
    const size_t features = p->places > 0 ? windows : p->features, units = p->units * at_once(p);
    struct job job = {
        .problem = *p, .outputs = p->batch * (p->sequences ? p->steps : 1) * units, .states = p->batch * units};
    float *kernel = random_array(features * columns), *recurrent = random_array(p->units * columns);
    float *bias = random_array(2 * columns);
    for (size_t i = 0; i < p->units * columns; i++) recurrent[i] /= 8;
    const lf_layer_config config = {.cell = p->cell,
                                    .real = LF_F32,
                                    .features = features,
                                    .units = p->units,
                                    .activation = {.kind = lf_activation_find("tanh")},
                                    .recurrent_activation = {.kind = lf_activation_find("sigmoid")},
                                    .kernel = kernel,
                                    .recurrent_kernel = p->cell == LF_DENSE || p->places > 0 ? NULL : recurrent,
                                    .bias = bias};
    if (lf_layer_create(&config, &job.layer) != LF_OK) abort();
    free(kernel);
    if (p->upper > 0) {
        lf_layer_config above = config;
        above.features = p->units;
        above.kernel = kernel = random_array(p->units * columns);
        if (lf_layer_create(&above, &job.upper) != LF_OK) abort();
        free(kernel);
    }
    free(recurrent);
    free(bias);
    job.x = random_array(inputs * p->features * at_once(p));
    job.h = random_array(job.states);
    job.c = random_array(job.states);
    job.mask = malloc(inputs);
    job.indices = malloc(inputs * sizeof *job.indices);
    for (size_t i = 0; i < inputs; i++) {
        job.mask[i] = uniform() < 0.2f;
        job.indices[i] = (int32_t)(i % 5);
    }
    if (p->indexed) {
        job.table = random_array(5 * lf_projection_width(job.layer));
        if (lf_layer_project(job.layer, job.x, (ptrdiff_t)p->features, 5, job.table) != LF_OK) abort();
    }
    job.y = calloc(job.outputs, sizeof *job.y);
    job.final_h = malloc(job.states * sizeof *job.final_h);
    job.final_c = malloc(job.states * sizeof *job.final_c);
    run_job(&job, 1, job.y, job.final_h, job.final_c);
    return job;
}

static void free_job(struct job *job) {
    lf_layer_destroy(job->layer);
    lf_layer_destroy(job->upper);
    void *const arrays[] = {job->x,    job->h, job->c,       job->table,  job->indices,
                            job->mask, job->y, job->final_h, job->final_c};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) free(arrays[i]);
}

struct caller {
    const struct job *job;
    int first_team;
};

/* Runs the job on teams of several sizes, from one that differs between callers on. */
static void *call_often(void *argument) {
    const struct caller *caller = argument;
    const struct job *job = caller->job;
    float *y = malloc(job->outputs * sizeof *y);
    float *h = malloc(job->states * sizeof *h), *c = malloc(job->states * sizeof *c);
    for (int i = 0; i < 3; i++) {
        memset(y, 7, job->outputs * sizeof *y);
        run_job(job, 2 + (caller->first_team + i) % 3, y, h, c);
        const int same = memcmp(y, job->y, job->outputs * sizeof *y) == 0 &&
                         memcmp(h, job->final_h, job->states * sizeof *h) == 0 &&
                         memcmp(c, job->final_c, job->states * sizeof *c) == 0;
        if (!same && atomic_fetch_add(&failures, 1) < 10)
            fprintf(stderr, "FAILED: other bits on %d threads, cell %d units %zu\n", 2 + (caller->first_team + i) % 3,
                    job->problem.cell, job->problem.units);
    }
    free(y);
    free(h);
    free(c);
    return NULL;
}

/* ---- the barrier alone --------------------------------------------------------------------------------------------
 */

enum { ROUNDS = 400, BARRIER_TEAM = 5 };

struct meeting {
    lf_barrier barrier;
    lf_arrival arrivals[BARRIER_TEAM];
    int written[BARRIER_TEAM]; /* plain: only the barrier orders it */
};

/* Each member writes its own place, then reads the others'. Some arrive late, so that the others sleep. In the end they
 * have waited for so long that the team scatters; what they waited while they measured is no reason to. */
static void meet(void *context, int index, int count) {
    struct meeting *meeting = context;
    if (index == 0) atomic_fetch_add(&meeting->barrier.late_ns, 1LL << 62);
    lf_barrier_measure(&meeting->barrier, index, count);
    if (index == 0) {
        if (atomic_load(&meeting->barrier.late_ns) >= 1LL << 62) atomic_fetch_add(&failures, 1);
        meeting->barrier.begin_ns = 1; /* long ago: no other wait is long enough, on however busy a machine */
    }
    for (int round = 1; round <= ROUNDS; round++) {
        meeting->written[index] = round;
        if (round % 97 == index) /* any work that takes longer than the spinning does */
            for (volatile int delay = 0; delay < 300000;) delay = delay + 1;
        int together = lf_barrier_wait(&meeting->barrier, index, count);
        for (int i = 0; i < count; i++)
            if (meeting->written[i] != round) atomic_fetch_add(&failures, 1);
        if (round == ROUNDS && index == 0) atomic_fetch_add(&meeting->barrier.late_ns, 1LL << 62);
        together = together && lf_barrier_wait(&meeting->barrier, index, count);
        if (together != (round < ROUNDS)) atomic_fetch_add(&failures, 1);
    }
}

/* ---- the instruction set ------------------------------------------------------------------------------------------
 */

enum { SELECTIONS = 300 };
static atomic_int selections; /* two of each: it is asked for at the same time, and both are done */

static void *ask_which(void *nothing) {
    for (int i = 0; i < SELECTIONS; i++) {
        while (atomic_load(&selections) < 2 * i + 1) continue;
        (void)lf_isa();
        atomic_store(&selections, 2 * i + 2);
    }
    return nothing;
}

/* One that is asked for stays, whoever asks at that moment which one is the best. */
static void select_often(void) {
    const char *isa, *last = NULL;
    for (int n = 0; (isa = lf_isa_available(n)) != NULL; n++) last = isa;
    pthread_t other;
    if (pthread_create(&other, NULL, ask_which, NULL) != 0) abort();
    for (int i = 0; i < SELECTIONS; i++) {
        if (lf_isa_select(NULL) != LF_OK) abort();
        atomic_store(&selections, 2 * i + 1);
        if (lf_isa_select(last) != LF_OK) abort();
        while (atomic_load(&selections) < 2 * i + 2) continue;
        if (strcmp(lf_isa(), last) != 0 && atomic_fetch_add(&failures, 1) < 10)
            fprintf(stderr, "FAILED: %s was asked for, and there is %s\n", last, lf_isa());
    }
    pthread_join(other, NULL);
}

/* Every job with one team after the other, from several callers at once. */
static void call_all_jobs(int count) {
    for (size_t i = 0; i < sizeof problems / sizeof *problems; i++) {
        struct job job = make_job(&problems[i]);
        pthread_t handles[CALLERS];
        struct caller callers[CALLERS];
        for (int k = 0; k < count; k++) {
            callers[k] = (struct caller){&job, k};
            if (pthread_create(&handles[k], NULL, call_often, &callers[k]) != 0) abort();
        }
        for (int k = 0; k < count; k++) pthread_join(handles[k], NULL);
        free_job(&job);
    }
}

static void expect_at_least(int least, atomic_int *count, const char *what) {
    if (atomic_load(count) >= least) return;
    fprintf(stderr, "FAILED: only %d %s\n", atomic_load(count), what);
    atomic_fetch_add(&failures, 1);
}

int main(int count, char **arguments) {
    static const unsigned scatter_rounds[] = {0, 1, 7, 12};
    int wrapped = 0;
    for (int i = 1; i < count; i++) {
        if (strcmp(arguments[i], "--wrapped") == 0) wrapped = 1;
        if (strcmp(arguments[i], "--without-barrier") == 0) without_barrier = 1;
    }
    select_often();
    lf_assume_processors(8);
    const char *isa;
    for (int n = 0; (isa = lf_isa_available(n)) != NULL; n++) {
        if (lf_isa_select(isa) != LF_OK) return 1;
        for (size_t i = 0; i < sizeof scatter_rounds / sizeof *scatter_rounds; i++) {
            scatter_round = scatter_rounds[i];
            call_all_jobs(scatter_round == 0 ? CALLERS : 1);
        }
    }
    scatter_round = 0;
    static struct meeting meeting = {.barrier = {.arrivals = meeting.arrivals, .begin_ns = 1}};
    __wrap_lf_team_run(BARRIER_TEAM, meet, &meeting);
    if (wrapped) {
        expect_at_least(120, &teams_started, "teams of more than one thread");
        expect_at_least(20, &teams_scattered, "teams that scattered");
    }
    printf("%d teams, %d of them scattered, %d failed\n", atomic_load(&teams_started), atomic_load(&teams_scattered),
           atomic_load(&failures));
    return atomic_load(&failures) != 0;
}
