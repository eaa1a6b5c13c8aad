/* SPDX-License-Identifier: Apache-2.0 */

/* A program that crashes in the way it is told to, with libtractor's crash handler and nothing else of it:
 * `crash-rig HELPER ACTION…`, HELPER being the path of tractor-crash ("" for none). Its channel is what TRACTOR_CHANNEL_FD
 * names. Actions, taken in order:
 *
 *   null            write to address 0                      call-null       call it
 *   abort           abort() in a thread                     raise=N         send itself that signal
 *   overflow        of a task's stack                       recurse         of the main thread's stack
 *   double          crash within the handler                two             two threads at once
 *   malloc          with the lock of the heap held          fork            a child crashes; its status is ours
 *   threads=N       that wait                               limit-files     no further descriptor can be had
 *   half            say half a line                         fill            say lines until no more are taken
 *   say=TEXT        a line                                  exit=N          end with that code
 *   deep=N          crash N calls below                     wait            for ever
 *   remove          take the handlers out again             close           the channel
 */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "libtractor/crash.h"

#define TASK_STACK (256U * 1024)
#define GUARD 4096U

static int channel = -EBADF;
static char *task_stack;
static bool hook_crashes;
static atomic_int meeting;
static sem_t waiting; /* one for each thread that does */
static ucontext_t back, task;

__attribute__((noinline)) void crash_here(void);
__attribute__((noinline)) int sink(volatile char *p);
int (*volatile nowhere)(void);
int *volatile null;
volatile bool endless = true;

void crash_here(void)
{
        *null = 1;
}

static const char *task_name(void)
{
        if (hook_crashes)
                crash_here();
        return "main";
}

static bool is_stack_guard(const void *addr, const char **ret_task, size_t *ret_stack_size)
{
        const char *p = addr;

        if (!task_stack || p < task_stack || p >= task_stack + GUARD)
                return false;
        *ret_task = "digger";
        *ret_stack_size = TASK_STACK;
        return true;
}

int sink(volatile char *p)
{
        volatile char frame[512];

        frame[0] = p ? p[0] : 0;
        return endless ? sink(frame) + frame[0] : 0;
}

static void deep(unsigned n)
{
        void (*volatile again)(unsigned) = deep; /* else several calls become one frame */

        if (n == 0)
                crash_here();
        else
                again(n - 1);
        __asm__ volatile("" ::: "memory"); /* no tail call */
}

static void dig(void)
{
        (void) sink(NULL);
}

static void overflow(void)
{
        task_stack = mmap(NULL, GUARD + TASK_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                        0);
        if (task_stack == MAP_FAILED || mprotect(task_stack, GUARD, PROT_NONE) < 0)
                _exit(120);
        (void) getcontext(&task);
        task.uc_stack.ss_sp = task_stack + GUARD;
        task.uc_stack.ss_size = TASK_STACK;
        task.uc_link = &back;
        makecontext(&task, dig, 0);
        (void) swapcontext(&back, &task);
}

static void *wait_for_ever(void *userdata)
{
        (void) pthread_setname_np(pthread_self(), "waiter");
        (void) sem_post(&waiting);
        for (;;)
                (void) pause();
        return NULL;
}

static void *abort_now(void *userdata)
{
        abort();
}

static void *crash_together(void *userdata)
{
        (void) atomic_fetch_add(&meeting, 1);
        while (atomic_load(&meeting) < 2)
                ;
        crash_here();
        return NULL;
}

static void start(unsigned n, void *(*f)(void *userdata))
{
        pthread_t t;

        for (unsigned i = 0; i < n; i++)
                if (pthread_create(&t, NULL, f, NULL) != 0)
                        _exit(120);
}

/* The top of the heap is overwritten: the next large request finds that with the arena locked, and aborts. */
static void crash_in_malloc(void)
{
        char *volatile p;

        start(1, wait_for_ever);
        p = malloc(64);
        for (size_t i = 64; i < 256 * 1024; i += 8) {
                size_t *word = (size_t *) (void *) (p + i);

                if (p + i + 8 > (char *) sbrk(0))
                        break;
                *word = 1;
        }
        p = malloc(100 * 1000);
        _exit(p ? 121 : 122);
}

static void fork_and_crash(void)
{
        int status = 0;
        pid_t pid = fork();

        if (pid == 0)
                crash_here();
        if (pid < 0 || waitpid(pid, &status, 0) != pid)
                _exit(120);
        _exit(WIFSIGNALED(status) ? WTERMSIG(status) : 119);
}

static void say(const char *text)
{
        if (send(channel, text, strlen(text), MSG_NOSIGNAL) < 0)
                _exit(120);
}

static void fill(void)
{
        while (send(channel, "{\"jsonrpc\":\"2.0\",\"method\":\"much\"}\n", 34,
                               MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
                ;
}

static void limit_files(void)
{
        (void) setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 3, 3 });
}

static bool act_with(const char *action)
{
        const char *v;

        if ((v = startswith(action, "raise=")))
                (void) raise(atoi(v));
        else if ((v = startswith(action, "threads="))) {
                start((unsigned) atoi(v), wait_for_ever);
                for (int n = atoi(v); n > 0; n--)
                        while (sem_wait(&waiting) < 0)
                                ;
        } else if ((v = startswith(action, "say="))) {
                say(v);
                say("\n");
        } else if ((v = startswith(action, "deep=")))
                deep((unsigned) atoi(v));
        else if ((v = startswith(action, "exit=")))
                _exit(atoi(v));
        else
                return false;
        return true;
}

static void act(const char *action)
{
        if (act_with(action))
                return;
        if (streq(action, "null"))
                crash_here();
        else if (streq(action, "call-null"))
                (void) nowhere();
        else if (streq(action, "abort"))
                start(1, abort_now);
        else if (streq(action, "overflow"))
                overflow();
        else if (streq(action, "recurse"))
                dig();
        else if (streq(action, "double")) {
                hook_crashes = true;
                (void) raise(SIGFPE);
        } else if (streq(action, "two"))
                start(2, crash_together);
        else if (streq(action, "malloc"))
                crash_in_malloc();
        else if (streq(action, "fork"))
                fork_and_crash();
        else if (streq(action, "limit-files"))
                limit_files();
        else if (streq(action, "half"))
                say("{\"jsonrpc\":\"2.0\",\"method\":\"$/sta");
        else if (streq(action, "fill"))
                fill();
        else if (streq(action, "close"))
                (void) close(channel);
        else if (streq(action, "remove"))
                crash_remove();
        else if (streq(action, "wait"))
                (void) wait_for_ever(NULL);
        else
                _exit(120);
}

int main(int argc, char **argv)
{
        static const CrashHooks hooks = { .task_name = task_name, .is_stack_guard = is_stack_guard };
        const char *fd = getenv("TRACTOR_CHANNEL_FD");

        if (fd)
                channel = atoi(fd);
        if (argc < 3 || crash_install(channel, argv[1], &hooks) < 0)
                return 120;
        for (int i = 2; i < argc; i++)
                act(argv[i]);
        /* Some of it goes on elsewhere. */
        (void) pause();
        return 0;
}
