/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "libtractor/crash-note.h"
#include "libtractor/crash.h"

#define ALT_STACK_SIZE (64U * 1024)
#define GUARD_SIZE (64U * 1024) /* a page or more on every architecture */
#define CHILD_STACK_SIZE (32U * 1024)
/* Others wait for the first one's end: its bounds and as much again. */
#define OTHERS_WAIT_MS (2 * (CRASH_WAIT_MS + 2 * CRASH_WRITE_MS))
/* An address this near to the stack pointer is the stack's. */
#define STACK_REACH (64U * 1024)

static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS, SIGTRAP };

static struct {
        bool installed;
        bool ours[ELEMENTSOF(signals)];
        pid_t pid;
        atomic_int channel;
        dev_t channel_dev; /* which tell it from what has got its number since */
        ino_t channel_ino;
        char helper[PATH_MAX];
        CrashHooks hooks;
        void *stack;
} crash = { .channel = -EBADF };

/* The thread that reports; what it reports; where its child stands until it has become another program. */
static atomic_int reporter;
static int first_signo;
static volatile sig_atomic_t attempts; /* at a report; REPORTED when there is one */
#define REPORTED 2
static siginfo_t first_info;
static CrashNote note;
static _Alignas(64) char child_stack[CHILD_STACK_SIZE];

static pid_t own_tid(void)
{
        return (pid_t) syscall(SYS_gettid);
}

/* --- the end --- */

static void set_default(int signo)
{
        struct sigaction sa = { .sa_handler = SIG_DFL };

        (void) sigaction(signo, &sa, NULL);
}

static void block(int how, int signo)
{
        sigset_t set;

        (void) sigemptyset(&set);
        (void) sigaddset(&set, signo);
        (void) sigprocmask(how, &set, NULL);
}

static void send_self(int signo, siginfo_t *si)
{
        pid_t pid = getpid(), tid = own_tid();

        if (syscall(SYS_rt_tgsigqueueinfo, pid, tid, signo, si) < 0 &&
                        syscall(SYS_tgkill, pid, tid, signo) < 0)
                (void) kill(pid, signo);
}

/* The signal waits until the handler has returned: it then strikes where the first one did, and a core file shows that
 * place, with the same siginfo. */
static void die_by_return(int signo, siginfo_t *si)
{
        set_default(signo);
        block(SIG_BLOCK, signo);
        send_self(signo, si);
}

_Noreturn static void die_here(int signo, siginfo_t *si)
{
        set_default(signo);
        send_self(signo, si);
        block(SIG_UNBLOCK, signo);
        (void) kill(getpid(), SIGKILL);
        for (;;)
                (void) poll(NULL, 0, -1);
}

/* --- the report without help --- */

static int64_t now_ms(void)
{
        struct timespec ts = { 0 };

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* 0, or -ETIMEDOUT; an error or the peer's end counts as having come. */
static int await(int fd, short events, int64_t until)
{
        struct pollfd p = { .fd = fd, .events = events };
        int r;

        do {
                int64_t left = until - now_ms();

                if (left <= 0)
                        return -ETIMEDOUT;
                r = poll(&p, fd < 0 ? 0 : 1, (int) MIN(left, (int64_t) INT_MAX));
        } while (r == 0 || (r < 0 && errno == EINTR));
        return r < 0 ? -errno : 0;
}

static int send_bounded(int fd, const char *p, size_t n)
{
        int64_t until = now_ms() + CRASH_WRITE_MS;

        while (n > 0) {
                ssize_t k = send(fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);

                if (k < 0 && errno != EAGAIN && errno != EINTR)
                        return -errno;
                if (k > 0) {
                        p += k;
                        n -= (size_t) k;
                } else if (await(fd, POLLOUT, until) < 0)
                        return -ETIMEDOUT;
        }
        return 0;
}

/* A pipe that says it is writable takes as much as this at once. */
static void say_on_stderr(const char *p, size_t n)
{
        if (await(STDERR_FILENO, POLLOUT, now_ms() + CRASH_WRITE_MS) >= 0 && write(STDERR_FILENO, p, n) < 0)
                return; /* nobody is left to be told */
}

static void report_alone(int channel)
{
        char buf[1024];
        CrashText t = { buf, 0, sizeof(buf) };

        if (channel >= 0) {
                crash_note_line(&note, &t);
                if (send_bounded(channel, buf, t.n) >= 0)
                        return;
        }
        t.n = 0;
        crash_note_text(&note, &t);
        say_on_stderr(buf, t.n);
}

/* --- the helper --- */

typedef struct Launch {
        int socket, channel;
        char socket_text[16], channel_text[16];
        int error; /* why it could not be run: written by the child, whose memory this is as well */
} Launch;

static void let_inherit(int fd, char text[static 16])
{
        CrashText t = { text, 0, 16 };

        if (fd >= 0 && fcntl(fd, F_SETFD, 0) >= 0)
                crash_put_number(&t, (uint64_t) fd, 10);
        else
                crash_put(&t, "-");
}

/* On a stack of its own in our memory, while the thread that made it waits: its descriptors and signal handlers are its
 * own, all else is the crashed process's. Without an environment nobody's debuginfod is asked, and nothing preloaded. */
static int become_helper(void *userdata)
{
        Launch *l = userdata;
        char *argv[] = { crash.helper, l->socket_text, l->channel_text, NULL }, *envp[] = { NULL };
        sigset_t none;

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (int i = 1; i < NSIG; i++)
                set_default(i);
        let_inherit(l->socket, l->socket_text);
        let_inherit(l->channel, l->channel_text);
        (void) sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
        (void) execve(crash.helper, argv, envp);
        l->error = errno;
        _exit(127);
}

/* No exit signal: neither a handler of SIGCHLD nor a wait of another thread's gets to see it. */
static pid_t start_helper(int socket, int channel)
{
        Launch l = { .socket = socket, .channel = channel };
        pid_t pid = clone(become_helper, child_stack + sizeof(child_stack), CLONE_VM | CLONE_VFORK, &l);

        if (pid < 0)
                return -errno;
        if (l.error > 0) {
                (void) waitpid(pid, NULL, __WALL);
                return -l.error;
        }
        return pid;
}

/* Its end closes its socket. One that does not end is killed, and left if even that does not help. */
static int await_helper(pid_t pid, int socket)
{
        int64_t until = now_ms() + CRASH_WAIT_MS;
        int status = 0;

        if (await(socket, POLLIN, until) < 0)
                (void) kill(pid, SIGKILL);
        until = now_ms() + CRASH_WRITE_MS;
        for (;;) {
                pid_t p = waitpid(pid, &status, __WALL | WNOHANG);

                if (p == pid)
                        return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
                if ((p < 0 && errno != EINTR) || now_ms() >= until)
                        return -ECHILD;
                (void) poll(NULL, 0, 1);
        }
}

static int report_by_helper(int channel)
{
        int pair[2], r;
        pid_t pid;

        if (!crash.helper[0])
                return -ENOENT;
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
                return -errno;
        pid = start_helper(pair[1], channel);
        (void) close(pair[1]);
        if (pid < 0) {
                (void) close(pair[0]);
                return pid;
        }
        /* It is our child, and Yama wants it the other way round. */
        (void) prctl(PR_SET_PTRACER, (unsigned long) pid, 0, 0, 0);
        r = send_bounded(pair[0], (const char *) &note, sizeof(note));
        if (r < 0)
                (void) shutdown(pair[0], SHUT_RDWR);
        r = await_helper(pid, pair[0]);
        (void) close(pair[0]);
        return r;
}

/* --- the handler --- */

static void take_registers(const ucontext_t *context)
{
#if defined(__x86_64__)
        note.pc = (uint64_t) context->uc_mcontext.gregs[REG_RIP];
        note.sp = (uint64_t) context->uc_mcontext.gregs[REG_RSP];
        note.has_registers = true;
#elif defined(__aarch64__)
        note.pc = context->uc_mcontext.pc;
        note.sp = context->uc_mcontext.sp;
        note.has_registers = true;
#endif
}

static void describe_overflow(const char *task, size_t size)
{
        CrashText t = { note.message, 0, sizeof(note.message) };

        crash_put(&t, task ? "stack of task " : "stack");
        crash_put(&t, task ?: "");
        if (size > 0) {
                crash_put(&t, " (");
                crash_put_number(&t, size / 1024, 10);
                crash_put(&t, " KiB)");
        }
        crash_put(&t, " overflowed");
}

/* A task's stack ends at a guard that is known; of another one the nearness of its pointer tells. */
static void look_for_overflow(const siginfo_t *si)
{
        const char *task = NULL;
        size_t size = 0;

        if ((note.signo != SIGSEGV && note.signo != SIGBUS) || si->si_code <= 0)
                return;
        if (crash.hooks.is_stack_guard && crash.hooks.is_stack_guard(si->si_addr, &task, &size))
                describe_overflow(task, size);
        else if (note.has_registers && note.address + STACK_REACH > note.sp &&
                        note.address < note.sp + STACK_REACH / 16)
                describe_overflow(note.task[0] ? note.task : NULL, 0);
}

static void take_note(int signo, const siginfo_t *si, const ucontext_t *context)
{
        CrashText task = { note.task, 0, sizeof(note.task) };
        const char *name;

        note.size = sizeof(note);
        note.pid = getpid();
        note.tid = own_tid();
        note.signo = signo;
        note.has_address = si->si_code > 0 && signo != SIGABRT && signo != SIGSYS;
        note.address = note.has_address ? (uintptr_t) si->si_addr : 0;
        take_registers(context);
        name = crash.hooks.task_name ? crash.hooks.task_name() : NULL;
        crash_put(&task, name ?: "");
        crash_note_describe(&note, si);
        look_for_overflow(si);
}

/* The process's, not one that its child has copied. */
static int own_channel(void)
{
        int fd = getpid() == crash.pid ? atomic_load(&crash.channel) : -EBADF;
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0 || st.st_dev != crash.channel_dev || st.st_ino != crash.channel_ino)
                return -EBADF;
        return fd;
}

/* The handler has crashed: what is known is told without another try at the rest, once. */
_Noreturn static void die_of_two(void)
{
        CrashHooks none = { 0 };

        if (attempts++ == 0) {
                crash.hooks = none;
                if (!note.message[0])
                        crash_note_describe(&note, &first_info);
                report_alone(own_channel());
        }
        die_here(first_signo, &first_info);
}

/* Another thread was first, and is about to end us all. */
static void await_end(int signo, siginfo_t *si)
{
        (void) await(-1, 0, now_ms() + OTHERS_WAIT_MS);
        die_here(signo, si);
}

/* A crash of ours must get here: those signals stay as they are. */
static void block_others(void)
{
        sigset_t set;

        (void) sigfillset(&set);
        for (size_t i = 0; i < ELEMENTSOF(signals); i++)
                (void) sigdelset(&set, signals[i]);
        (void) sigprocmask(SIG_BLOCK, &set, NULL);
}

static void on_crash(int signo, siginfo_t *si, void *context)
{
        int expected = 0, tid = own_tid();

        block_others();
        if (!atomic_compare_exchange_strong(&reporter, &expected, tid)) {
                if (expected == tid)
                        die_of_two();
                await_end(signo, si);
        }
        first_signo = signo;
        first_info = *si;
        take_note(signo, si, context);
        if (report_by_helper(own_channel()) < 0)
                report_alone(own_channel());
        attempts = REPORTED;
        die_by_return(signo, si);
}

/* --- installing --- */

int crash_enter_thread(void **ret_stack)
{
        size_t size = GUARD_SIZE + ALT_STACK_SIZE;
        stack_t old;
        void *p;

        if (sigaltstack(NULL, &old) < 0)
                return -errno;
        if (!(old.ss_flags & SS_DISABLE) && old.ss_size >= ALT_STACK_SIZE) {
                *ret_stack = NULL;
                return 0;
        }
        p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
        if (p == MAP_FAILED)
                return -errno;
        if (mprotect(p, GUARD_SIZE, PROT_NONE) < 0 ||
                        sigaltstack(&(stack_t){ .ss_sp = (char *) p + GUARD_SIZE,
                                                    .ss_size = ALT_STACK_SIZE },
                                        NULL) < 0) {
                int r = -errno;

                (void) munmap(p, size);
                return r;
        }
        *ret_stack = p;
        return 0;
}

void crash_leave_thread(void *stack)
{
        if (!stack)
                return;
        (void) sigaltstack(&(stack_t){ .ss_flags = SS_DISABLE }, NULL);
        (void) munmap(stack, GUARD_SIZE + ALT_STACK_SIZE);
}

/* Deferring none: a second one of the same signal would be the kernel's to end, by which it may not be the first. */
static int handle(size_t i)
{
        struct sigaction sa = { .sa_sigaction = on_crash, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER },
                         old;

        if (sigaction(signals[i], NULL, &old) < 0)
                return -errno;
        if ((old.sa_flags & SA_SIGINFO) || old.sa_handler != SIG_DFL)
                return 0;
        if (sigaction(signals[i], &sa, NULL) < 0)
                return -errno;
        crash.ours[i] = true;
        return 0;
}

int crash_install(int channel_fd, const char *helper_path, const CrashHooks *hooks)
{
        int r;

        if (crash.installed)
                return -EALREADY;
        if (strlen(helper_path ?: "") >= sizeof(crash.helper))
                return -ENAMETOOLONG;
        r = crash_enter_thread(&crash.stack);
        if (r < 0)
                return r;
        (void) strcpy(crash.helper, helper_path ?: "");
        crash.hooks = hooks ? *hooks : (CrashHooks){ 0 };
        crash.pid = getpid();
        crash_set_channel(channel_fd);
        crash.installed = true;
        for (size_t i = 0; i < ELEMENTSOF(signals) && r >= 0; i++)
                r = handle(i);
        if (r < 0)
                crash_remove();
        return r;
}

void crash_set_channel(int channel_fd)
{
        struct stat st = { 0 };

        atomic_store(&crash.channel, -EBADF);
        if (channel_fd >= 0 && fstat(channel_fd, &st) < 0)
                return;
        crash.channel_dev = st.st_dev;
        crash.channel_ino = st.st_ino;
        atomic_store(&crash.channel, channel_fd);
}

void crash_remove(void)
{
        if (!crash.installed)
                return;
        for (size_t i = 0; i < ELEMENTSOF(signals); i++) {
                struct sigaction now;

                if (crash.ours[i] && sigaction(signals[i], NULL, &now) >= 0 && now.sa_sigaction == on_crash)
                        set_default(signals[i]);
                crash.ours[i] = false;
        }
        crash_leave_thread(TAKE_PTR(crash.stack));
        atomic_store(&crash.channel, -EBADF);
        crash.installed = false;
}
