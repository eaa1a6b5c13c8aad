/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <execinfo.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/io.h"
#include "libtractor/stall.h"
#include "libtractor/task.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

#define STACK_SIZE (64U * 1024)
#define FRAMES_MAX 64
#define NAME_SHOWN 100
#define LINE_SHOWN 256

static void arm(Stall *s, uint64_t usec)
{
        struct itimerspec t = {
                .it_value = { .tv_sec = (time_t) (usec / USEC_PER_SEC),
                                .tv_nsec = (long) (usec % USEC_PER_SEC * NSEC_PER_USEC + 1) }
        };

        s->armed = true;
        (void) timer_settime(s->timer, 0, &t, NULL);
}

void stall_turn_begins(Stall *s, uint64_t next)
{
        if (!s->runtime)
                return;
        s->turn_usec = now_usec(CLOCK_MONOTONIC);
        s->turn_switch = next;
        /* First, lest a shot in between takes this for an idle program, and stays off. */
        s->in_turn = true;
        if (!s->armed)
                arm(s, s->limit / 2);
}

/* --- in the handler: async-signal-safe --- */

/* Written at once, lest others' words come in between. */
typedef struct Line {
        char text[LINE_SHOWN];
        size_t n;
} Line;

static void add(Line *l, const char *text, size_t max)
{
        size_t n = MIN(strnlen(text, max), sizeof(l->text) - l->n);

        memcpy(l->text + l->n, text, n);
        l->n += n;
}

static void add_seconds(Line *l, uint64_t usec)
{
        char buf[32], *p = buf + sizeof(buf);
        uint64_t n = usec / (100 * USEC_PER_MSEC);

        *--p = 0;
        *--p = (char) ('0' + n % 10);
        *--p = '.';
        n /= 10;
        do
                *--p = (char) ('0' + n % 10);
        while (n /= 10);
        add(l, p, LINE_SHOWN);
}

static void write_head(const char *task, uint64_t usec)
{
        Line l = { .n = 0 };

        add(&l, "tractor: task ", LINE_SHOWN);
        add(&l, task, NAME_SHOWN);
        add(&l, " has run for ", LINE_SHOWN);
        add_seconds(&l, usec);
        add(&l, " s without a checkpoint, and all others wait. It is at\n", LINE_SHOWN);
        (void) write_all(STDERR_FILENO, l.text, l.n);
}

static const void *interrupted_at(const ucontext_t *c)
{
#if defined(__x86_64__)
        return (const void *) c->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
        return (const void *) c->uc_mcontext.pc;
#else
        return NULL;
#endif
}

static void tell(const char *task, uint64_t usec, const ucontext_t *context)
{
        const void *at = interrupted_at(context);
        void *frames[FRAMES_MAX];
        int n = backtrace(frames, FRAMES_MAX), first = 0;

        /* The handler's own frames come before it. */
        for (int i = 0; i < n && first == 0; i++)
                if (frames[i] == at)
                        first = i;
        write_head(task, usec);
        backtrace_symbols_fd(frames + first, n - first, STDERR_FILENO);
}

static void look(Stall *s, const ucontext_t *context)
{
        Runtime *rt = s->runtime;
        uint64_t now = now_usec(CLOCK_MONOTONIC), ran;

        if (!rt->running) {
                if (s->in_turn)
                        arm(s, s->limit / 2);
                else
                        s->armed = false;
                return;
        }
        if (s->seen_switch != rt->n_switches) {
                s->seen_switch = rt->n_switches;
                s->seen_usec = s->turn_switch == rt->n_switches ? s->turn_usec : now;
        }
        ran = usec_sub(now, s->seen_usec);
        if (ran < s->limit) {
                arm(s, MIN(s->limit / 2, s->limit - ran));
                return;
        }
        /* Armed it stays, in name: there is nothing new to be seen until the task gives way. */
        s->told = true;
        tell(rt->running->name, ran, context);
}

static void on_shot(int signo, siginfo_t *si, void *context)
{
        int saved_errno = errno;

        /* Anybody may send it, to any thread. */
        if (si->si_code == SI_TIMER && runtime && si->si_value.sival_ptr == runtime)
                look(&runtime->stall, context);
        errno = saved_errno;
}

/* --- outside of it --- */

void stall_over(Stall *s, const char *task)
{
        uint64_t ran = usec_sub(now_usec(CLOCK_MONOTONIC), s->seen_usec);

        s->told = false;
        /* Others may run before the next turn. */
        arm(s, s->limit / 2);
        (void) fprintf(stderr, "tractor: task %.*s ran %.1f s without a checkpoint\n", NAME_SHOWN, task,
                        (double) ran / (double) USEC_PER_SEC);
}

/* The last real-time signal that nobody has a use for: programs take the first ones. */
static int free_signal(void)
{
        struct sigaction sa;

        for (int i = SIGRTMAX - 1; i >= SIGRTMIN; i--)
                if (sigaction(i, NULL, &sa) >= 0 && !(sa.sa_flags & SA_SIGINFO) && sa.sa_handler == SIG_DFL)
                        return i;
        return -EBUSY;
}

/* A task's own stack may have no room left for a handler. */
static void need_stack(Stall *s)
{
        stack_t old;
        void *p;

        if (sigaltstack(NULL, &old) < 0 || !(old.ss_flags & SS_DISABLE))
                return;
        p = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
        if (p == MAP_FAILED)
                return;
        if (sigaltstack(&(stack_t){ .ss_sp = p, .ss_size = STACK_SIZE }, NULL) < 0) {
                (void) munmap(p, STACK_SIZE);
                return;
        }
        s->stack = p;
}

/* Somebody may have put another in its place meanwhile. */
static void leave_stack(Stall *s)
{
        stack_t now;

        if (!s->stack)
                return;
        if (sigaltstack(NULL, &now) >= 0 && now.ss_sp == s->stack)
                (void) sigaltstack(&(stack_t){ .ss_flags = SS_DISABLE }, NULL);
        (void) munmap(s->stack, STACK_SIZE);
        s->stack = NULL;
}

static int make_timer(Stall *s, Runtime *rt)
{
        struct sigevent e = {
                .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = s->signo, .sigev_value.sival_ptr = rt
        };

        e.sigev_notify_thread_id = (pid_t) syscall(SYS_gettid);
        return timer_create(CLOCK_MONOTONIC, &e, &s->timer);
}

void stall_open(Stall *s, Runtime *rt, uint64_t limit)
{
        struct sigaction sa = { .sa_sigaction = on_shot, .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK };
        sigset_t set;
        void *frame;

        *s = (Stall){ .limit = MAX(limit ?: STALL_DEFAULT, USEC_PER_MSEC) };
        if (limit == USEC_INFINITY)
                return;
        s->signo = free_signal();
        if (s->signo < 0)
                return;
        /* The first one loads the unwinder, which is no work for a handler. */
        (void) backtrace(&frame, 1);
        if (sigaction(s->signo, &sa, &s->old_action) < 0)
                return;
        if (make_timer(s, rt) < 0) {
                (void) sigaction(s->signo, &s->old_action, NULL);
                return;
        }
        need_stack(s);
        (void) sigemptyset(&set);
        (void) sigaddset(&set, s->signo);
        (void) pthread_sigmask(SIG_UNBLOCK, &set, NULL);
        s->runtime = rt;
}

void stall_close(Stall *s)
{
        if (!s->runtime)
                return;
        (void) timer_delete(s->timer);
        /* One that is pending still, where a task has blocked it, would end the process by default. */
        (void) sigaction(s->signo, &(struct sigaction){ .sa_handler = SIG_IGN }, NULL);
        (void) sigaction(s->signo, &s->old_action, NULL);
        leave_stack(s);
        s->runtime = NULL;
}
