/* The CPU quota of a container in the default number of threads, cgroup v1 and v2: a tree of files stands for /sys and
 * /proc, and a processor count for the machine's. The thread that asks is pinned to fewer, which is for its own teams
 * alone. Linked with --wrap=fopen and --wrap=sched_getaffinity.
 * Next: ../../csrc/core/threads.c. */
#define _GNU_SOURCE
#include <lstmfast.h>
#include <core/threads.h>

#include <omp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PROCESSORS = 16, PINNED_TO = 2 };

static struct file {
    const char *path, *text;
} files[8];

FILE *__real_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode);
int __wrap_sched_getaffinity(pid_t process, size_t bytes, cpu_set_t *set);

FILE *__wrap_fopen(const char *path, const char *mode) {
    if (strncmp(path, "/sys/fs/cgroup", 14) != 0 && strcmp(path, "/proc/self/cgroup") != 0)
        return __real_fopen(path, mode);
    for (size_t i = 0; i < sizeof files / sizeof *files && files[i].path != NULL; i++)
        if (strcmp(files[i].path, path) == 0) return fmemopen((void *)files[i].text, strlen(files[i].text), "r");
    return NULL;
}

int __wrap_sched_getaffinity(pid_t process, size_t bytes, cpu_set_t *set) {
    const int count = process == 0 ? PINNED_TO : PROCESSORS; /* 0: the thread that asks */
    memset(set, 0, bytes);
    for (int cpu = 0; cpu < count; cpu++) CPU_SET(cpu, set);
    return 0;
}

static void expect(const char *what, int threads, const struct file *tree, size_t count) {
    memset(files, 0, sizeof files);
    memcpy(files, tree, count * sizeof *tree);
    lf_set_threads(0, NULL); /* looks again */
    if (lf_threads() != threads) {
        printf("%s: %d threads, expected %d\n", what, lf_threads(), threads);
        exit(1);
    }
}
#define EXPECT(what, threads, ...)                                                                                     \
    expect(what, threads, (const struct file[]){__VA_ARGS__},                                                          \
           sizeof((const struct file[]){__VA_ARGS__}) / sizeof *files)

int main(void) {
    omp_set_num_threads(PROCESSORS); /* its default on such a machine */
    unsetenv("LSTMFAST_NUM_THREADS");
    unsetenv("OMP_NUM_THREADS");
    EXPECT("no cgroups", 16, {"/nothing", ""});
    EXPECT("v2, no limit", 16, {"/proc/self/cgroup", "0::/\n"}, {"/sys/fs/cgroup/cpu.max", "max 100000\n"});
    EXPECT("v2, the container's root", 3, {"/proc/self/cgroup", "0::/\n"},
           {"/sys/fs/cgroup/cpu.max", "300000 100000\n"});
    EXPECT("v2, a part of a processor", 3, {"/proc/self/cgroup", "0::/\n"},
           {"/sys/fs/cgroup/cpu.max", "250000 100000\n"});
    EXPECT("v2, less than a processor", 1, {"/proc/self/cgroup", "0::/\n"},
           {"/sys/fs/cgroup/cpu.max", "20000 100000\n"});
    EXPECT("v2, the tightest of the way up", 2, {"/proc/self/cgroup", "0::/system.slice/a.service\n"},
           {"/sys/fs/cgroup/system.slice/a.service/cpu.max", "max 100000\n"},
           {"/sys/fs/cgroup/system.slice/cpu.max", "200000 100000\n"}, {"/sys/fs/cgroup/cpu.max", "800000 100000\n"});
    EXPECT("v2, more than there is", 16, {"/proc/self/cgroup", "0::/\n"},
           {"/sys/fs/cgroup/cpu.max", "9900000 100000\n"});
    EXPECT("v1", 4, {"/proc/self/cgroup", "12:memory:/docker/1\n4:cpu,cpuacct:/docker/1\n"},
           {"/sys/fs/cgroup/cpu/docker/1/cpu.cfs_quota_us", "400000\n"},
           {"/sys/fs/cgroup/cpu/docker/1/cpu.cfs_period_us", "100000\n"});
    EXPECT("v1, seen from inside", 2, {"/proc/self/cgroup", "4:cpu,cpuacct:/docker/1\n"},
           {"/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "100000\n"}, {"/sys/fs/cgroup/cpu/cpu.cfs_period_us", "50000\n"});
    EXPECT("v1, no limit", 16, {"/proc/self/cgroup", "4:cpu,cpuacct:/\n"},
           {"/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"}, {"/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"});
    EXPECT("nonsense", 16, {"/proc/self/cgroup", "::::\n\nx\n0:\n"}, {"/sys/fs/cgroup/cpu.max", "all of it\n"});
    EXPECT("a period of 0", 16, {"/proc/self/cgroup", "0::/\n"}, {"/sys/fs/cgroup/cpu.max", "100000 0\n"});
    setenv("OMP_NUM_THREADS", "2", 1);
    EXPECT("OMP_NUM_THREADS below the quota", 2, {"/proc/self/cgroup", "0::/\n"},
           {"/sys/fs/cgroup/cpu.max", "300000 100000\n"});
    setenv("LSTMFAST_NUM_THREADS", "5", 1);
    EXPECT("LSTMFAST_NUM_THREADS above it", 5, {"/proc/self/cgroup", "0::/\n"},
           {"/sys/fs/cgroup/cpu.max", "300000 100000\n"});
    if (lf_processors() != PINNED_TO) {
        printf("a thread pinned to %d processors counts %d\n", PINNED_TO, lf_processors());
        return 1;
    }
    printf("quota: 14 trees of cgroups\n");
    return 0;
}
