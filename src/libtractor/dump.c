/* SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/auxv.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/io.h"
#include "libtractor/dump.h"
#include "libtractor/nursery.h"

/* --- a frame in words --- */

/* The program itself goes by argv[0], which of an actor is the actor's name: its file is what addr2line takes. */
static const char *file_of(const Dl_info *i, char *buf, size_t size)
{
        Dl_info program = { 0 };
        ssize_t n;

        if (dladdr((void *) getauxval(AT_ENTRY), &program) == 0 || program.dli_fbase != i->dli_fbase)
                return i->dli_fname;
        n = readlink("/proc/self/exe", buf, size - 1);
        if (n < 0 || (size_t) n == size - 1)
                return i->dli_fname;
        buf[n] = 0;
        return buf;
}

void dump_frame(void *address, char *buf, size_t n)
{
        const char *file, *module = NULL;
        char exe[512]; /* this may be a task's stack */
        Dl_info i = { 0 };

        /* A return address may be the first one behind its function. */
        if (dladdr((char *) address - 1, &i) != 0 && i.dli_fname) {
                file = file_of(&i, exe, sizeof(exe));
                module = (strrchr(file, '/') ?: file - 1) + 1;
        }
        if (!module)
                (void) snprintf(buf, n, "%p", address);
        else if (i.dli_sname)
                (void) snprintf(buf, n, "%.120s+0x%zx (%.60s)", i.dli_sname,
                                (size_t) ((char *) address - (char *) i.dli_saddr), module);
        else
                (void) snprintf(buf, n, "%.60s+0x%zx", module,
                                (size_t) ((char *) address - (char *) i.dli_fbase));
}

static int stack_of(Task *t, Json **ret)
{
        void *frames[DUMP_FRAMES_MAX];
        Snapshot s = { .max = ELEMENTSOF(frames), .frames = frames };
        _cleanup_json_ Json *stack = NULL;
        char text[DUMP_FRAME_SIZE];
        int r = json_pack(&stack, "[]");

        task_snapshot(t, &s);
        for (size_t i = 0; i < s.n && r >= 0; i++) {
                dump_frame(frames[i], text, sizeof(text));
                r = json_append(stack, json_new_string(text, SIZE_MAX));
        }
        if (r < 0)
                return r;
        *ret = TAKE_PTR(stack);
        return 0;
}

/* --- a task --- */

static double seconds_left(uint64_t until, uint64_t now)
{
        return (double) usec_sub(until, now) / (double) USEC_PER_SEC;
}

static char *wait_text(const Task *t, uint64_t now)
{
        const char *detail = t->wait_detail;
        const char *gap = detail[0] ? " " : "";

        if (t->wait_until == USEC_INFINITY)
                return xasprintf("%s%s%s", t->wait, gap, detail);
        if (!detail[0])
                return xasprintf("%s %.1f s", t->wait, seconds_left(t->wait_until, now));
        return xasprintf("%s %s, %.1f s left", t->wait, detail, seconds_left(t->wait_until, now));
}

static int scope_of(const Task *t, uint64_t now, Json **ret)
{
        uint64_t deadline = scope_deadline(t->scope);
        bool shield = false, cancelled = scope_cancelling(t->scope);
        _cleanup_json_ Json *o = NULL;
        int r;

        for (const Scope *s = t->scope; s && !shield; s = s->parent)
                shield = s->shield;
        r = json_pack(&o, "{cancelled:b, shield:b}", cancelled, shield);
        if (r >= 0 && !cancelled && deadline != USEC_INFINITY) {
                Json *ms = NULL;

                r = json_pack(&ms, "U", usec_sub(deadline, now) / USEC_PER_MSEC);
                if (r >= 0)
                        r = json_set(o, "deadline_ms", ms);
        }
        if (r < 0)
                return r;
        *ret = TAKE_PTR(o);
        return 0;
}

static int describe(Task *t, uint64_t now, Json **ret)
{
        const Task *parent = t->nursery ? t->nursery->task : NULL;
        _cleanup_free_ char *wait = NULL;
        Json *stack = NULL, *scope = NULL, *nursery = NULL;
        int r = 0;

        if (t->state == TASK_PARKED && t->wait) {
                wait = wait_text(t, now);
                r = wait ? 0 : -ENOMEM;
        }
        if (r >= 0)
                r = scope_of(t, now, &scope);
        if (r >= 0)
                r = stack_of(t, &stack);
        if (r >= 0 && parent)
                r = json_pack(&nursery, "U", parent->id);
        if (r < 0) {
                json_unref(scope);
                json_unref(stack);
                return r;
        }
        return json_pack(ret, "{id:U, name:s, state:s, wait:s, nursery:o, scope:o, stack:o}", t->id, t->name,
                        task_state_to_string(t->state), wait, nursery, scope, stack);
}

/* --- all of them --- */

typedef struct Dump {
        Runtime *runtime;
        Json *tasks;
        int r;
} Dump;

static int append_rest(Json *tasks, unsigned n)
{
        _cleanup_free_ char *name = xasprintf("(%u more)", n);
        Json *rest = NULL;
        int r = name ? json_pack(&rest, "{name:s, more:U}", name, (uint64_t) n) : -ENOMEM;

        return r < 0 ? r : json_append(tasks, rest);
}

static int collect(Runtime *rt, Json *tasks)
{
        uint64_t now = now_usec(CLOCK_MONOTONIC);
        size_t total = 0, size;
        unsigned n = 0;

        LIST_FOREACH(i, &rt->tasks) {
                Json *task = NULL;
                int r;

                if (n == DUMP_TASKS_MAX)
                        break;
                r = describe(LIST_ENTRY(i, Task, node), now, &task);
                if (r < 0)
                        return r;
                if (!json_print(task, &size) || total + size + 1 > DUMP_BYTES_MAX) {
                        json_unref(task);
                        break;
                }
                total += size + 1;
                r = json_append(tasks, task);
                if (r < 0)
                        return r;
                n++;
        }
        return n < rt->n_tasks ? append_rest(tasks, rt->n_tasks - n) : 0;
}

static void on_host(void *userdata)
{
        Dump *d = userdata;

        d->r = collect(d->runtime, d->tasks);
}

int dump_tasks(Runtime *rt, Json **ret)
{
        Dump d = { .runtime = rt };
        int r = json_pack(&d.tasks, "[]");

        if (r < 0)
                return r;
        /* Other stacks are entered from the host's alone. */
        task_on_host(rt, on_host, &d);
        if (d.r < 0) {
                json_unref(d.tasks);
                return d.r;
        }
        *ret = d.tasks;
        return 0;
}

static void print_task(const Json *t, FILE *f)
{
        const Json *scope = json_get(t, "scope"), *stack = json_get(t, "stack");

        if (!json_has(t, "id")) {
                (void) fprintf(f, "%s\n", json_get_string(t, "name", ""));
                return;
        }
        (void) fprintf(f, "task %lld \"%s\"", (long long) json_get_integer(t, "id", 0),
                        json_get_string(t, "name", ""));
        if (json_get(t, "nursery"))
                (void) fprintf(f, " of task %lld", (long long) json_get_integer(t, "nursery", 0));
        (void) fprintf(f, ": %s", json_get_string(t, "state", ""));
        if (json_get(t, "wait"))
                (void) fprintf(f, ", waits for %s", json_get_string(t, "wait", ""));
        if (json_has(scope, "deadline_ms"))
                (void) fprintf(f, ", deadline in %lld ms",
                                (long long) json_get_integer(scope, "deadline_ms", 0));
        if (json_get_boolean(scope, "cancelled", false))
                (void) fputs(", cancelled", f);
        if (json_get_boolean(scope, "shield", false))
                (void) fputs(", shielded", f);
        (void) fputc('\n', f);
        for (size_t i = 0; i < json_length(stack); i++)
                (void) fprintf(f, "    #%zu %s\n", i, json_string(json_item(stack, i)));
}

int dump_print(Runtime *rt, FILE *f)
{
        _cleanup_json_ Json *tasks = NULL;
        int r = dump_tasks(rt, &tasks);

        if (r < 0)
                return r;
        (void) fprintf(f, "tractor: %u tasks of process %d\n", rt->n_tasks, (int) getpid());
        for (size_t i = 0; i < json_length(tasks); i++)
                print_task(json_item(tasks, i), f);
        (void) fflush(f);
        return 0;
}

/* --- SIGUSR1 --- */

/* Of the one runtime that a process has; the signal may hit any thread of it. */
static atomic_int wake_fd = -EBADF;

static void on_signal(int signo)
{
        int saved_errno = errno, fd = wake_fd;

        if (fd >= 0)
                (void) eventfd_write(fd, 1);
        errno = saved_errno;
}

static int on_wake(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        eventfd_t n;

        (void) eventfd_read(fd, &n);
        (void) dump_print(userdata, stderr);
        return 0;
}

/* Never closed: a handler in another thread may be about to write to it. A child that was forked needs one of its own. */
static int open_wake_fd(void)
{
        static pid_t owner;

        if (wake_fd >= 0 && owner == getpid())
                return 0;
        wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (wake_fd < 0)
                return -errno;
        owner = getpid();
        return 0;
}

/* Whether the signal would just end the program, and nobody waits for it by a descriptor. */
static bool is_free(void)
{
        struct sigaction sa;
        sigset_t set;

        return sigaction(SIGUSR1, NULL, &sa) >= 0 && !(sa.sa_flags & SA_SIGINFO) &&
               sa.sa_handler == SIG_DFL && pthread_sigmask(SIG_SETMASK, NULL, &set) == 0 &&
               sigismember(&set, SIGUSR1) == 0;
}

int dump_open(Runtime *rt)
{
        struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART | SA_ONSTACK };
        void *frame;
        int r;

        /* The first one loads the unwinder, for which a task's stack may be too small. */
        (void) backtrace(&frame, 1);
        if (!is_free())
                return 0;
        r = open_wake_fd();
        if (r < 0)
                return r;
        r = sd_event_add_io(rt->event, &rt->dump_source, wake_fd, EPOLLIN, on_wake, rt);
        if (r < 0)
                return r;
        return sigaction(SIGUSR1, &sa, NULL) < 0 ? -errno : 0;
}

void dump_close(Runtime *rt)
{
        struct sigaction sa;

        if (!rt->dump_source)
                return;
        rt->dump_source = sd_event_source_disable_unref(rt->dump_source);
        if (sigaction(SIGUSR1, NULL, &sa) >= 0 && !(sa.sa_flags & SA_SIGINFO) && sa.sa_handler == on_signal)
                (void) sigaction(SIGUSR1, &(struct sigaction){ .sa_handler = SIG_DFL }, NULL);
}
