/* Several calls at once: a pair that know nothing of each other, as the directions of a Bidirectional, and a stack of
 * which each reads what the one below it gives. Next: sequence.c runs one. */
#include "sequence.h"

#include <limits.h>

/* Work space that no other call's lies next to. */
static lf_status prepare_apart(lf_sequence *s) {
    if (!lf_sum(s->member_bytes, LF_APART_BYTES, &s->member_bytes)) return LF_NO_MEMORY;
    return lf_sequence_prepare(s, NULL);
}

/* How much less than the longest of these calls the shortest takes, as a part of the longest. */
static double unevenness(const lf_sequence *calls, size_t count) {
    double shortest = calls[0].plan.ns, longest = shortest;
    for (size_t i = 1; i < count; i++) {
        if (calls[i].plan.ns < shortest) shortest = calls[i].plan.ns;
        if (calls[i].plan.ns > longest) longest = calls[i].plan.ns;
    }
    return longest > 0 ? 1 - shortest / longest : 0;
}

/* The first members take the one call, the others the other; a team of one takes both in turn. */
static void run_pair_member(void *context, int index, int count) {
    lf_sequence *pair = context;
    lf_watch *watch = &pair[0].watch;
    const unsigned long long before = lf_member_begin(watch, count);
    if (count == 1) {
        for (int i = 0; i < 2; i++) lf_sequence_share(&pair[i], 0, 1);
    } else {
        const int planned = pair[0].plan.threads + pair[1].plan.threads, share = pair[0].plan.threads * count / planned;
        const int first = share > 1 ? share : 1;
        if (index < first) lf_sequence_share(&pair[0], (size_t)index, (size_t)first);
        else lf_sequence_share(&pair[1], (size_t)(index - first), (size_t)(count - first));
    }
    lf_member_end(watch, count, before);
}

lf_status lf_sequence_run_pair(const lf_layer *const layers[2], const lf_run *const runs[2]) {
    lf_sequence whole[2] = {{.layer = layers[0], .run = runs[0]}, {.layer = layers[1], .run = runs[1]}};
    lf_sequence pair[2] = {whole[0], whole[1]};
    const int threads[2] = {lf_sequence_threads(runs[0]), lf_sequence_threads(runs[1])};
    const int most = lf_crowd_bound(threads[0] < threads[1] ? threads[0] : threads[1], lf_processors());
    const int halves[2] = {most / 2, most - most / 2};
    double one_by_one_ns = 0, slower_half_ns = 0, region_ns = 0;
    for (int i = 0; i < 2; i++) {
        const lf_status status = lf_sequence_plan(&whole[i], threads[i], region_ns);
        if (status != LF_OK) return status;
        one_by_one_ns += whole[i].plan.ns;
        if (whole[i].plan.region_ns > 0) region_ns = whole[i].plan.region_ns;
    }
    if (most > 1 && region_ns > 0) {
        for (int i = 0; i < 2; i++) {
            const lf_status status = lf_sequence_plan(&pair[i], halves[i], region_ns);
            if (status != LF_OK) return status;
            if (pair[i].plan.ns > slower_half_ns) slower_half_ns = pair[i].plan.ns;
        }
    }
    if (slower_half_ns == 0 || !lf_pair_pays(one_by_one_ns, slower_half_ns, region_ns)) {
        const lf_status status = lf_sequence_run_planned(&whole[0]);
        return status == LF_OK ? lf_sequence_run_planned(&whole[1]) : status;
    }

    lf_status status = prepare_apart(&pair[0]);
    if (status != LF_OK) return status;
    status = prepare_apart(&pair[1]);
    if (status == LF_OK) {
        const int team = pair[0].plan.threads + pair[1].plan.threads;
        lf_watch_begin(&pair[0].watch);
        pair[0].barrier.begin_ns = pair[1].barrier.begin_ns = pair[0].watch.begin;
        lf_team_run(team, run_pair_member, pair);
        lf_watch_end(&pair[0].watch, team, lf_processors(),
                     atomic_load(&pair[0].barrier.late_ns) + atomic_load(&pair[1].barrier.late_ns),
                     unevenness(pair, 2));
        lf_sequence_release(&pair[1]);
    }
    lf_sequence_release(&pair[0]);
    return status;
}

struct stack {
    lf_sequence *levels;
    size_t count;
    lf_barrier meeting; /* of the members before they begin, where it is due to find out how long that takes */
    int measures;
};

/* The members take the levels in turn: whichever is not done yet reads from one that is, or that another member has. */
static void run_stack_member(void *context, int index, int count) {
    struct stack *stack = context;
    lf_watch *watch = &stack->levels[0].watch;
    const unsigned long long before = lf_member_begin(watch, count);
    if (stack->measures && count > 1) lf_barrier_measure(&stack->meeting, index, count);
    for (size_t i = (size_t)index; i < stack->count; i += (size_t)count) lf_sequence_share(&stack->levels[i], 0, 1);
    lf_member_end(watch, count, before);
}

/* One step behind each other, each on a thread. */
static lf_status run_levels(lf_sequence *levels, size_t count) {
    lf_arrival done[LF_LEVELS_MOST] = {{0}}, met[LF_LEVELS_MOST] = {{0}};
    lf_barrier passed = {.arrivals = done};
    struct stack stack = {levels, count, {.arrivals = met}, lf_barrier_measure_due()};
    lf_status status = LF_OK;
    size_t prepared = 0;
    for (; prepared < count && status == LF_OK; prepared++) {
        lf_sequence *level = &levels[prepared];
        level->passed = &passed;
        level->level = (int)prepared;
        status = prepare_apart(level);
    }
    if (status == LF_OK) {
        lf_watch_begin(&levels[0].watch);
        stack.meeting.begin_ns = levels[0].watch.begin;
        lf_team_run((int)count, run_stack_member, &stack);
        lf_watch_end(&levels[0].watch, (int)count, lf_processors(),
                     atomic_load(&passed.late_ns) + atomic_load(&stack.meeting.late_ns), unevenness(levels, count));
    }
    for (size_t i = 0; i < prepared; i++) lf_sequence_release(&levels[i]);
    return status;
}

/* Whether a level can read each step as soon as the one below has done it: all rows go through a step together, nothing
 * is read from its end, and a round can tell how many steps are done. Rows that are lanes go on their own. */
static int follows(const lf_sequence *level, const lf_sequence *below) {
    return level->row_unit == 1 && below->row_unit == 1 && level->chunks == 1 && below->chunks == 1 &&
           !level->run->go_backwards && level->run->steps <= INT_MAX;
}

/* How many of these levels to run at once: 1 where that is no sooner than one after the other, as planned in `alone`.
 */
static size_t levels_at_once(const lf_sequence *levels, const lf_sequence *alone, size_t count, double region_ns) {
    enum { BEHIND = 3 }; /* steps from level to level */
    size_t best = 1;
    double saved_ns = 0, one_by_one_ns = alone[0].plan.ns, slowest_ns = 0;
    for (size_t i = 1; i < count && follows(&levels[i], &levels[i - 1]); i++) {
        const size_t steps = levels[i].run->steps, features = levels[i].layer->panels.features;
        const size_t step_bytes = levels[i].run->batch * features * levels[i].layer->element_bytes;
        one_by_one_ns += alone[i].plan.ns;
        for (size_t side = i - 1; side <= i; side++) {
            const double level_ns = lf_level_ns(levels[side].plan.ns, steps, step_bytes);
            if (level_ns > slowest_ns) slowest_ns = level_ns;
        }
        const double at_once_ns = slowest_ns * (1 + (double)(BEHIND * i) / (double)steps);
        if (one_by_one_ns - at_once_ns <= saved_ns || !lf_pair_pays(one_by_one_ns, at_once_ns, region_ns)) continue;
        saved_ns = one_by_one_ns - at_once_ns;
        best = i + 1;
    }
    return best;
}

lf_status lf_sequence_run_stack(const lf_layer *const *layers, const lf_run *const *runs, size_t count) {
    for (; count > LF_LEVELS_MOST; layers += LF_LEVELS_MOST, runs += LF_LEVELS_MOST, count -= LF_LEVELS_MOST) {
        const lf_status status = lf_sequence_run_stack(layers, runs, LF_LEVELS_MOST);
        if (status != LF_OK) return status;
    }
    lf_sequence alone[LF_LEVELS_MOST], levels[LF_LEVELS_MOST];
    double region_ns = 0;
    int most = lf_processors();
    for (size_t i = 0; i < count; i++) {
        const int threads = lf_sequence_threads(runs[i]);
        alone[i] = levels[i] = (lf_sequence){.layer = layers[i], .run = runs[i]};
        const lf_status status = lf_sequence_plan(&alone[i], threads, region_ns);
        if (status != LF_OK) return status;
        if (alone[i].plan.region_ns > 0) region_ns = alone[i].plan.region_ns;
        if (threads < most) most = threads;
    }
    if (most > 1 && region_ns > 0) most = lf_crowd_bound(most, lf_processors());
    if (region_ns == 0) most = 1; /* too little work for a team */
    for (size_t i = 0; i < count && most > 1; i++) {
        const lf_status status = lf_sequence_plan(&levels[i], 1, region_ns);
        if (status != LF_OK) return status;
    }
    for (size_t i = 0, at_once; i < count; i += at_once) {
        const size_t here = lf_smaller(count - i, (size_t)most);
        at_once = here > 1 ? levels_at_once(levels + i, alone + i, here, region_ns) : 1;
        const lf_status status = at_once > 1 ? run_levels(levels + i, at_once) : lf_sequence_run_planned(&alone[i]);
        if (status != LF_OK) return status;
    }
    return LF_OK;
}
