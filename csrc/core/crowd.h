/* Whether other programs hold the processors that a team needs. Next: crowd.c. */
#ifndef LF_CROWD_H
#define LF_CROWD_H

#include <stdatomic.h>

/* Nanoseconds of a clock that all threads share. */
long long lf_now_ns(void);

/* One team's call, watched: when it began, when the last of its members came, and when the first was done. */
typedef struct lf_watch {
    long long begin;
    atomic_llong last_enter, first_leave; /* 0: none yet */
} lf_watch;

void lf_watch_begin(lf_watch *watch);
void lf_watch_enter(lf_watch *watch); /* by each member, as its first act */
void lf_watch_leave(lf_watch *watch); /* and as its last */

/* After the team: learns from how long its members waited for each other. `late_ns` is what they waited at barriers,
 * all together; `uneven` the part of the time that a member idles because the shares differ. */
void lf_watch_end(lf_watch *watch, int team, int processors, long long late_ns, double uneven);

/* Whether so long has passed since the last call that asked this, and the last team, that threads will have gone to
 * sleep. */
int lf_teams_sleep(void);

/* For tests: whether from here on no call teaches anything, and teams are always awake. */
void lf_crowd_ignore(int ignore);

/* Whether neighbours held up a team in the last seconds. */
int lf_crowd_lately(void);

/* As many of `most` threads as seem to have a processor now: more would wait for each other's time slices, 1.8 to 2.6
 * times as long for eight of them on two cores. */
int lf_crowd_bound(int most, int processors);

#endif
