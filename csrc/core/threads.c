/* How many threads a call may use (a number that was set, else environment, affinity and container quota), how many
 * its work is worth, and the OpenMP team that runs it. All OpenMP of lstmfast is in run_team and openmp_limit.
 * Next: barrier.c, where a team meets; sequence.c. */
#define _GNU_SOURCE
#include "threads.h"

#include "barrier.h"
#include "crowd.h"
#include "letters.h"

#include <lstmfast.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(_OPENMP)
#include <omp.h>
#endif
#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#else
#include <pthread.h>
#include <sched.h>
#include <unistd.h>
#endif

enum { MOST_THREADS = 1024 };

/* ---- how many are allowed ---------------------------------------------------------------------------------------- */

static atomic_int threads_chosen;  /* 0: none, use the default */
static atomic_int threads_default; /* 0: not found out yet */
static atomic_int default_asked;   /* LSTMFAST_NUM_THREADS gave it */

static atomic_int processors_assumed; /* 0: those that there are */
static atomic_uint affinity_changes;  /* so many there may have been: after each, threads count their processors anew */

enum whose { OF_THREAD, OF_PROCESS };

/* Those of the process are its main thread's: the one that asks may be pinned. */
static int count_processors(enum whose whose) {
#if defined(__linux__)
    cpu_set_t allowed;
    if (sched_getaffinity(whose == OF_PROCESS ? getpid() : 0, sizeof allowed, &allowed) == 0)
        return CPU_COUNT(&allowed);
#endif
    (void)whose;
#if defined(_WIN32)
    return (int)GetActiveProcessorCount(ALL_PROCESSOR_GROUPS);
#else
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
#endif
}

int lf_processors(void) {
    static _Thread_local int count; /* 0: not counted yet */
    static _Thread_local unsigned counted_after;
    const int assumed = atomic_load_explicit(&processors_assumed, memory_order_relaxed);
    if (assumed > 0) return assumed;
    const unsigned changes = atomic_load_explicit(&affinity_changes, memory_order_relaxed);
    if (count == 0 || counted_after != changes) {
        count = count_processors(OF_THREAD);
        counted_after = changes;
    }
    return count;
}

int lf_processors_are_assumed(void) { return atomic_load_explicit(&processors_assumed, memory_order_relaxed) > 0; }

void lf_assume_processors(int count) {
    lf_crowd_ignore(count > 0);
    atomic_store_explicit(&processors_assumed, count, memory_order_relaxed);
}

#if defined(__linux__)
/* The numbers that a file in a folder begins with; of what is not there 0. */
static void read_numbers(const char *folder, const char *name, double *first, double *second) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "re");
    const int count = file == NULL ? 0 : fscanf(file, "%lf %lf", first, second);
    if (count < 1) *first = 0;
    if (count < 2) *second = 0;
    if (file != NULL) fclose(file);
}

/* Processors of the quota in one cgroup folder (v2: cpu.max; v1: cpu.cfs_*), or 0 where it has none. */
static double quota_in(const char *folder) {
    double quota, period, nothing;
    read_numbers(folder, "cpu.max", &quota, &period);
    if (quota == 0) {
        read_numbers(folder, "cpu.cfs_quota_us", &quota, &nothing);
        read_numbers(folder, "cpu.cfs_period_us", &period, &nothing);
    }
    return quota > 0 && period > 0 ? quota / period : 0; /* v1 says -1 where there is no quota */
}

/* The smallest quota on the way from this process's cgroup up to the root; a container sees its own as the root. */
static double quota(void) {
    double least = 0;
    FILE *groups = fopen("/proc/self/cgroup", "re");
    char line[400];
    while (groups != NULL && fgets(line, sizeof line, groups) != NULL) {
        char *controllers = strchr(line, ':');
        char *path = controllers == NULL ? NULL : strchr(controllers + 1, ':');
        if (path == NULL) continue;
        *path++ = '\0';
        path[strcspn(path, "\n")] = '\0'; /* NOLINT(*.ArrayBound): its end at most */
        const int unified = controllers[1] == '\0';
        if (!unified && strstr(controllers + 1, "cpu") == NULL) continue;
        for (;;) {
            char folder[480];
            snprintf(folder, sizeof folder, "/sys/fs/cgroup%s%s", unified ? "" : "/cpu", path);
            const double here = quota_in(folder);
            if (here > 0 && (least == 0 || here < least)) least = here;
            char *slash = strrchr(path, '/');
            if (slash == NULL) break;
            *slash = '\0';
        }
    }
    if (groups != NULL) fclose(groups);
    return least;
}
#else
static double quota(void) { return 0; }
#endif

/* A positive whole number in environment variable `name` (its first, as in OMP_NUM_THREADS=4,2), or 0. */
static int environment_threads(const char *name) {
    const char *text = getenv(name);
    if (text == NULL) return 0;
    char *end;
    const long number = strtol(text, &end, 10);
    while (*end == ' ' || *end == '\t' || *end == '\n' || *end == '\r') end++;
    return end != text && (*end == '\0' || *end == ',') && number >= 1 && number <= MOST_THREADS ? (int)number : 0;
}

static int default_threads(void) {
    const int asked = environment_threads("LSTMFAST_NUM_THREADS");
    atomic_store_explicit(&default_asked, asked > 0, memory_order_relaxed);
    if (asked > 0) return asked;
    int threads = lf_processors_are_assumed() ? lf_processors() : count_processors(OF_PROCESS);
    const double allowed = quota();
    if (allowed > 0 && allowed < threads) threads = (int)(allowed + 0.999);
    const int openmp = environment_threads("OMP_NUM_THREADS");
    if (openmp > 0 && openmp < threads) threads = openmp;
    return threads < 1 ? 1 : threads > MOST_THREADS ? MOST_THREADS : threads;
}

/* What omp_set_num_threads gave the calling thread, as threadpoolctl does: a default, like OMP_NUM_THREADS. */
static int openmp_limit(void) {
#if defined(_OPENMP)
    static atomic_int processors_of_openmp; /* 0: not counted yet; once, as OpenMP does for its own default */
    int processors = atomic_load_explicit(&processors_of_openmp, memory_order_relaxed);
    if (processors == 0) {
        processors = count_processors(OF_PROCESS);
        atomic_store_explicit(&processors_of_openmp, processors, memory_order_relaxed);
    }
    const int most = omp_get_max_threads();
    if (most < processors) return most;
#endif
    return MOST_THREADS;
}

int lf_threads(void) {
    int threads = atomic_load_explicit(&threads_chosen, memory_order_relaxed);
    if (threads > 0) return threads;
    threads = atomic_load_explicit(&threads_default, memory_order_relaxed);
    if (threads == 0) {
        threads = default_threads();
        atomic_store_explicit(&threads_default, threads, memory_order_relaxed);
    }
    const int limit = openmp_limit();
    return limit < threads && !atomic_load_explicit(&default_asked, memory_order_relaxed) ? limit : threads;
}

lf_status lf_set_threads(int threads, int *before) {
    if (threads < 0 || threads > MOST_THREADS) return LF_INVALID;
    const int chosen = atomic_exchange_explicit(&threads_chosen, threads, memory_order_relaxed);
    if (before != NULL) *before = chosen;
    atomic_fetch_add_explicit(&affinity_changes, 1, memory_order_relaxed);
    if (threads == 0) atomic_store_explicit(&threads_default, 0, memory_order_relaxed); /* found out again */
    return LF_OK;
}

/* Of a cache level of a core, as the system tells it; asked for once. */
#if defined(_SC_LEVEL1_DCACHE_SIZE) && defined(_SC_LEVEL2_CACHE_SIZE)
enum { LEVEL_1 = _SC_LEVEL1_DCACHE_SIZE, LEVEL_2 = _SC_LEVEL2_CACHE_SIZE };
#else
enum { LEVEL_1 = -1, LEVEL_2 = -1 };
#endif
static size_t cache_bytes(atomic_size_t *known, int level, size_t usual, size_t least, size_t most) {
    size_t bytes = atomic_load_explicit(known, memory_order_relaxed);
    if (bytes > 0) return bytes;
#if defined(_WIN32)
    const long found = 0;
    (void)level;
#else
    const long found = level >= 0 ? sysconf(level) : 0;
#endif
    bytes = found <= 0 ? usual : (size_t)found < least ? least : (size_t)found > most ? most : (size_t)found;
    atomic_store_explicit(known, bytes, memory_order_relaxed);
    return bytes;
}

size_t lf_near_cache_bytes(void) {
    static atomic_size_t known;
    return cache_bytes(&known, LEVEL_1, 48 << 10, 16 << 10, 256 << 10);
}

size_t lf_private_cache_bytes(void) {
    static atomic_size_t known;
    return cache_bytes(&known, LEVEL_2, 512 << 10, 256 << 10, 4 << 20);
}

static atomic_int threads_in_teams;

int lf_threads_free(void) {
    const int free = lf_threads() - atomic_load_explicit(&threads_in_teams, memory_order_relaxed);
    return free < 1 ? 1 : free;
}

/* ---- forks ------------------------------------------------------------------------------------------------------ */

#if defined(_WIN32)
static int in_forked_child(void) { return 0; }
#else
static atomic_int forked;

/* A worker process often has processors of its own, so the default is found out again; a number that was set stays. */
static void after_fork_in_child(void) {
    atomic_store_explicit(&threads_in_teams, 0, memory_order_relaxed);
    atomic_store_explicit(&threads_default, 0, memory_order_relaxed);
    atomic_fetch_add_explicit(&affinity_changes, 1, memory_order_relaxed);
    atomic_store_explicit(&forked, 1, memory_order_relaxed);
}

__attribute__((constructor)) static void watch_forks(void) { pthread_atfork(NULL, NULL, after_fork_in_child); }

static int in_forked_child(void) { return atomic_load_explicit(&forked, memory_order_relaxed); }
#endif

/* ---- how many are worth it --------------------------------------------------------------------------------------- */

/* What a team costs beside its work, in nanoseconds: to wake it and join it again, some of that so many times as long
 * as two threads take to meet. Chosen with all below by the times of each plan for 25 small layers on a 2-core Zen 5,
 * on cores that share a cache and on others. */
static const double team_ns = 1200, team_meetings = 15;
static const double sleeping_team_ns = 100000; /* where its threads must be woken first */
static const double fresh_team_ns = 200000;    /* to make one first, as a forked child has to each time */
static const double update_products = 66;      /* a vector of states: its activations, in products */
static const double step_products = 160;       /* a step beside all that */
static const double far_bytes_per_ns = 40; /* weights read from beyond a core's own cache, mostly beside arithmetic */
static const double worth_it = 0.95;       /* a plan with more threads has to promise this part of the time */
/* Once a step, members that split the units meet and fetch each other's states, line by line: in barriers' times. */
static const double meeting_barriers = 2.1, line_barriers = 0.25;
static const double hidden_ns = 60, hidden_part = 0.2; /* so much passes while they compute; of a step at most */
static const double letters_barriers = 1.3, letter_barriers = 0.15; /* where they write letters; Zen 4 */
static const double step_barriers = 0.6, step_line_barriers = 0.1;  /* where a level of a stack follows another */

/* What is left of a wait beside a step that takes so long. */
static double left_ns(double wait_ns, double step_ns) {
    const double hidden = hidden_part * step_ns < hidden_ns ? hidden_part * step_ns : hidden_ns;
    return wait_ns > hidden ? wait_ns - hidden : 0;
}

/* How often the steps of so many rows are gone through, where some go through them together. */
static double times_through(double rows, size_t together) {
    return rows > (double)together ? rows / (double)together : 1;
}

/* `rows` go through all steps, `together` of them at a time; its own work takes a member `own_ns`. */
static double meeting_ns(const lf_work *work, int threads, double two_ns, double own_ns, double rows, size_t together) {
    if (together == 0 || work->steps == 1) return 0;
    const double steps = times_through(rows, together) * (double)work->steps;
    const double member_bytes = work->state_bytes / threads;
    double barriers = meeting_barriers + line_barriers * (threads - 1) * member_bytes / LF_LINE_BYTES;
    if (work->writes_letters && member_bytes <= LF_LETTERS_MOST * LF_LETTER_VALUES)
        barriers = letters_barriers + letter_barriers * (threads - 1) * member_bytes / LF_LETTER_VALUES;
    const double each_ns = two_ns * (1 + 0.1 * (threads - 2)) * barriers;
    return steps * left_ns(each_ns, own_ns / steps);
}

/* Weights that do not fit a core's own cache come from further away, once a step and chunk of rows. */
static double streaming_ns(const lf_work *work, double rows, double share_of_weights) {
    const double bytes = (double)work->weight_bytes * share_of_weights;
    if (bytes <= (double)lf_private_cache_bytes()) return 0;
    return bytes * (double)work->steps * times_through(rows, work->chunk_rows) / far_bytes_per_ns;
}

/* Time of a product where a thread has few rows, relative to full tiles: each weight that is loaded serves fewer, and
 * comes from the first cache level only where they are few, too. */
static double few_rows(const lf_work *work, double rows) {
    enum { NEAR_BYTES = 64 << 10 };
    if (rows <= 1) return work->weight_bytes <= NEAR_BYTES ? 2 : 2.7;
    return rows <= 2 ? 1.3 : rows <= 3 ? 1.15 : 1;
}

/* Largest of `count` things when `threads` share them out, as a part of all. */
static double largest_share(size_t count, int threads) {
    const size_t largest = (count + (size_t)threads - 1) / (size_t)threads;
    return (double)largest / (double)count;
}

/* The same of the blocks of units, of which the last may be smaller; it goes with one of the larger shares, if any. */
static double largest_block_share(const lf_work *work, int threads) {
    const size_t even = work->blocks / (size_t)threads, larger = work->blocks % (size_t)threads;
    const double last = (double)even + (larger > 0) - 1 + work->last_block;
    const double whole = (double)even + (larger > 1);
    return (last > whole ? last : whole) / ((double)work->blocks - 1 + work->last_block);
}

/* How much less than the largest the smallest share is, as a part of the largest. */
static double unevenness(size_t count, int threads) {
    return count % (size_t)threads == 0 ? 0 : 1 / ((double)count * largest_share(count, threads));
}

static double region_now_ns(double awake_ns) {
    return in_forked_child() ? fresh_team_ns : lf_teams_sleep() ? sleeping_team_ns : awake_ns;
}

lf_plan lf_plan_threads(const lf_work *work, int most) {
    const double tiled = (work->tiled_products + work->updates * update_products) * work->product_ns;
    const double products = (work->products - work->tiled_products) * work->product_ns;
    const double each_ns = (double)work->steps * step_products * work->product_ns; /* of a thread, whatever its share */
    const double shared_ns = products * few_rows(work, (double)work->rows) + tiled, alone = shared_ns + each_ns;
    lf_plan best = {1, LF_BY_ROWS, 0, alone, 0};
    if (alone < 2 * team_ns) return best; /* the clock need not be read */
    const double two_meet_ns = lf_barrier_ns(), awake_ns = team_ns + team_meetings * two_meet_ns;
    if (alone < 2 * awake_ns) return best;
    const double region_ns = work->region_ns > 0 ? work->region_ns : region_now_ns(awake_ns);
    best.region_ns = region_ns;
    if (alone < 2 * region_ns) return best;
    if (most > MOST_THREADS) most = MOST_THREADS;
    most = lf_crowd_bound(most, lf_processors());
    best.ns = alone + streaming_ns(work, (double)work->rows, 1);
    for (int threads = 2; threads <= most; threads++) {
        if ((size_t)threads <= work->rows) {
            const double share = largest_share(work->rows, threads), rows = share * (double)work->rows;
            const double own =
                each_ns + (products * few_rows(work, rows) + tiled) * share; /* the thread with the most rows decides */
            const double meet = meeting_ns(work, threads, two_meet_ns, own, rows, work->meet_rows);
            const double time = region_ns + own + meet + streaming_ns(work, rows, 1);
            if (time < worth_it * best.ns) {
                best = (lf_plan){threads, LF_BY_ROWS, unevenness(work->rows, threads), time, region_ns};
            }
        }
        if (work->splits_by_units && (size_t)threads <= work->blocks) {
            const double share = largest_block_share(work, threads);
            const double own = each_ns + shared_ns * share;
            const double meet = meeting_ns(work, threads, two_meet_ns, own, (double)work->rows, work->chunk_rows);
            const double time = region_ns + own + meet + streaming_ns(work, (double)work->rows, share);
            if (time < worth_it * best.ns) {
                best = (lf_plan){threads, LF_BY_UNITS, unevenness(work->blocks, threads), time, region_ns};
            }
        }
    }
    return best;
}

double lf_level_ns(double alone_ns, size_t steps, size_t step_bytes) {
    const double lines = (double)step_bytes / LF_LINE_BYTES;
    const double follow_ns = lf_barrier_ns() * (step_barriers + step_line_barriers * lines);
    /* It may fall behind, and need not wait: more of it passes than where all meet. */
    return alone_ns + (double)steps * (follow_ns > hidden_ns ? follow_ns - hidden_ns : 0);
}

int lf_pair_pays(double one_by_one_ns, double slower_half_ns, double region_ns) {
    return region_ns + slower_half_ns < worth_it * one_by_one_ns;
}

/* ---- the team ---------------------------------------------------------------------------------------------------- */

struct team {
    int threads;
    lf_member_fn *member;
    void *context;
};

static void *run_team(void *argument) {
    const struct team *team = argument;
#if defined(_OPENMP)
#pragma omp parallel num_threads(team->threads)
    team->member(team->context, omp_get_thread_num(), omp_get_num_threads());
#else
    team->member(team->context, 0, 1);
#endif
    return NULL;
}

static int run_on_fresh_thread(struct team *team) {
#if defined(_WIN32)
    (void)team;
    return 0;
#else
    pthread_t thread;
    if (pthread_create(&thread, NULL, run_team, team) != 0) return 0;
    pthread_join(thread, NULL);
    return 1;
#endif
}

/* libgomp keeps a team with the thread that started it. Its threads do not survive a fork, and the next region of the
 * thread that forked would wait for them for ever, whoever in the process had started them: a forked child begins each
 * team on a fresh thread, which has none yet. */
void lf_team_run(int threads, lf_member_fn *member, void *context) {
    struct team team = {threads, member, context};
    int done = 0;
    if (threads > 1) {
        atomic_fetch_add_explicit(&threads_in_teams, threads, memory_order_relaxed);
        if (!in_forked_child()) done = (run_team(&team), 1);
        else done = run_on_fresh_thread(&team);
        atomic_fetch_sub_explicit(&threads_in_teams, threads, memory_order_relaxed);
    }
    if (!done) member(context, 0, 1);
}
