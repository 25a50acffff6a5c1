/* A planned call on its team: what every time loop does around its own work, watched so that crowds are noticed.
 * Next: threads.c has the team, crowd.c what is learned. */
#ifndef LF_TEAM_H
#define LF_TEAM_H

#include "../isa/cpu.h"
#include "barrier.h"
#include "crowd.h"
#include "threads.h"

/* Which of a member's pieces of work is next, in rounds of even and of odd number: the one is cleared while the other
 * counts. */
typedef struct lf_queue {
    _Alignas(LF_LINE_BYTES) atomic_size_t next[2];
    size_t rounds; /* that the member itself has begun */
} lf_queue;

/* A member's first act: how its thread computed before, for its last one. */
static inline unsigned long long lf_member_begin(lf_watch *watch, int count) {
    if (count > 1) lf_watch_enter(watch);
    return lf_set_arithmetic();
}

static inline void lf_member_end(lf_watch *watch, int count, unsigned long long before) {
    lf_restore_arithmetic(before);
    if (count > 1) lf_watch_leave(watch);
}

static inline void lf_run_planned(const lf_plan *plan, lf_barrier *barrier, lf_watch *watch, lf_member_fn *member,
                                  void *context) {
    if (plan->threads <= 1) {
        member(context, 0, 1);
        return;
    }
    lf_watch_begin(watch);
    barrier->begin_ns = watch->begin;
    lf_team_run(plan->threads, member, context);
    lf_watch_end(watch, plan->threads, lf_processors(), atomic_load(&barrier->late_ns), plan->uneven);
}

#endif
