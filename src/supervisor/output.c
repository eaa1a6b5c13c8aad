/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "base/process.h"
#include "base/usec.h"
#include "logger/protocol.h"
#include "supervisor/helper.h"
#include "supervisor/output-folder.h"
#include "supervisor/output.h"
#include "tractor-config.h"

#define TAIL_TIMEOUT (2 * USEC_PER_SEC)
#define FINISH_TIMEOUT USEC_PER_SEC
#define BACKOFF_MIN (100 * USEC_PER_MSEC)
#define BACKOFF_MAX (5 * USEC_PER_SEC)
#define RESET_AFTER (10 * USEC_PER_SEC)
/* A logger that has no descriptor free may soon have one. */
#define RETRY (USEC_PER_SEC)

/* One generation's read ends, until the logger is done with it. */
typedef struct Pipes {
        OutputDir *dir; /* weak */
        ListNode due;   /* while something is to be sent */
        uint64_t key;
        char *name;
        int fds[_LOGGER_STREAMS];
        bool handed, ended, end_told;
        unsigned lines;
        OutputTail *tail; /* weak */
} Pipes;

struct OutputTail {
        Pipes *pipes; /* weak; NULL once those are gone */
        sd_event_source *timer;
        void (*handler)(const char *text, void *userdata);
        void *userdata;
};

struct OutputDir {
        sd_event *event;
        char *path, *program;
        int dir_fd;
        Map pipes; /* key → Pipes */
        ListNode due;

        /* The logger. */
        int fd;
        pid_t pid;
        sd_event_source *io, *child;
        sd_event_source *retry; /* when it is started again, or asked again */
        uint64_t started_usec;
        unsigned failures;

        void (*done)(void *userdata);
        void *userdata;
        sd_event_source *limit; /* of finishing */
        bool finished;
};

/* --- pipes --- */

static Pipes *pipes_free(Pipes *p)
{
        if (!p)
                return NULL;
        if (p->dir)
                (void) map_remove_u64(&p->dir->pipes, p->key);
        if (p->tail)
                p->tail->pipes = NULL;
        list_unlink(&p->due);
        close_many(p->fds, ELEMENTSOF(p->fds));
        free(p->name);
        free(p);
        return NULL;
}
DEFINE_CLEANUP(Pipes *, pipes_free);

static void pipes_due(Pipes *p)
{
        if (list_is_empty(&p->due))
                list_append(&p->dir->due, &p->due);
}

static ssize_t send_streams(const Pipes *p)
{
        LoggerRequest m = { .version = LOGGER_VERSION, .type = LOGGER_STREAMS, .key = p->key };
        int fds[_LOGGER_STREAMS];
        size_t n_fds = 0, n = strlen(p->name);

        for (unsigned i = 0; i < _LOGGER_STREAMS; i++) {
                if (p->fds[i] < 0)
                        continue;
                m.streams |= 1U << i;
                fds[n_fds++] = p->fds[i];
        }
        memcpy(m.name, p->name, n);
        return send_fds(p->dir->fd, &m, offsetof(LoggerRequest, name) + n + 1, fds, n_fds, MSG_DONTWAIT);
}

static ssize_t send_end(const Pipes *p)
{
        LoggerRequest m = {
                .version = LOGGER_VERSION, .type = LOGGER_END, .key = p->key, .lines = p->tail ? p->lines : 0
        };

        return send_fds(p->dir->fd, &m, offsetof(LoggerRequest, name), NULL, 0, MSG_DONTWAIT);
}

static int pipes_send(Pipes *p)
{
        ssize_t k = 0;

        if (!p->handed) {
                k = send_streams(p);
                p->handed = k > 0;
        }
        if (p->handed && p->ended && !p->end_told) {
                k = send_end(p);
                p->end_told = k > 0;
        }
        if (k < 0)
                return (int) k;
        list_unlink(&p->due);
        return 0;
}

static void again_in(OutputDir *d, uint64_t usec)
{
        (void) sd_event_source_set_time_relative(d->retry, usec);
        (void) sd_event_source_set_enabled(d->retry, SD_EVENT_ONESHOT);
}

/* What the socket does not take waits for room; what has another reason (too many descriptors under way) for a while. */
static void flush(OutputDir *d)
{
        uint32_t events = EPOLLIN;
        int r = 0;

        if (d->fd < 0)
                return;
        LIST_FOREACH_SAFE(i, &d->due)
                if ((r = pipes_send(LIST_ENTRY(i, Pipes, due))) < 0)
                        break;
        if (r == -EAGAIN)
                events |= EPOLLOUT;
        else if (r < 0)
                again_in(d, BACKOFF_MIN);
        (void) sd_event_source_set_io_events(d->io, events);
        if (d->done && list_is_empty(&d->due)) /* all is said */
                (void) shutdown(d->fd, SHUT_WR);
}

/* --- last words --- */

OutputTail *output_tail_free(OutputTail *t)
{
        if (!t)
                return NULL;
        if (t->pipes)
                t->pipes->tail = NULL;
        sd_event_source_disable_unref(t->timer);
        free(t);
        return NULL;
}

/* The handler may free the tail, and whatever else. */
static void call_back(OutputTail *t, const char *text)
{
        if (t->pipes)
                t->pipes->tail = NULL;
        t->pipes = NULL;
        t->timer = sd_event_source_disable_unref(t->timer);
        t->handler(text, t->userdata);
}

static int on_tail_limit(sd_event_source *s, uint64_t usec, void *userdata)
{
        call_back(userdata, "");
        return 0;
}

static void take_text(Pipes *p, const LoggerAnswer *m, size_t size)
{
        char text[LOGGER_TEXT_MAX + 1];
        size_t n = MIN(MIN((size_t) m->size, size), (size_t) LOGGER_TEXT_MAX);

        if (!p->tail)
                return;
        memcpy(text, m->text, n);
        text[n] = 0;
        call_back(p->tail, text);
}

/* --- the logger --- */

static void logger_answers(OutputDir *d, const LoggerAnswer *m, size_t n)
{
        Pipes *p = map_get_u64(&d->pipes, m->key);

        if (!p)
                return;
        switch (m->type) {
        case LOGGER_TEXT:
                take_text(p, m, n - offsetof(LoggerAnswer, text));
                break;
        case LOGGER_DONE:
                pipes_free(p);
                if (d->limit) /* it gets on: what so many wrote last takes its time on a busy machine */
                        (void) sd_event_source_set_time_relative(d->limit, FINISH_TIMEOUT);
                break;
        case LOGGER_FULL:
                log_warning("the logger has no descriptor free for %s: asked again", p->name);
                p->handed = p->end_told = false;
                pipes_due(p);
                again_in(d, RETRY);
                break;
        default:
                break;
        }
}

static int on_io(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
        OutputDir *d = userdata;
        LoggerAnswer m;

        for (int i = 0; i < 64; i++) {
                ssize_t n = recv(fd, &m, sizeof(m), MSG_DONTWAIT);

                if (n >= (ssize_t) offsetof(LoggerAnswer, text)) {
                        logger_answers(d, &m, (size_t) n);
                } else if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
                        break;
                } else { /* its end follows */
                        (void) sd_event_source_set_enabled(s, SD_EVENT_OFF);
                        return 0;
                }
        }
        if (revents & EPOLLOUT)
                flush(d);
        return 0;
}

static void logger_forget(OutputDir *d)
{
        d->child = child_abandon(d->child);
        d->io = sd_event_source_disable_unref(d->io);
        d->fd = safe_close(d->fd);
        d->pid = 0;
}

static void finished(OutputDir *d)
{
        d->limit = sd_event_source_disable_unref(d->limit);
        d->finished = true;
        d->done(d->userdata);
}

static int on_ended(sd_event_source *s, const siginfo_t *si, void *userdata)
{
        OutputDir *d = userdata;

        if (!d) {
                (void) sd_event_source_set_floating(s, false);
                return 0;
        }
        if (d->io) /* what it said before */
                (void) on_io(d->io, d->fd, 0, d);
        (void) sd_event_source_set_enabled(s, SD_EVENT_OFF);
        d->child = sd_event_source_unref(d->child);
        logger_forget(d);
        if (d->done) {
                finished(d);
                return 0;
        }
        if (usec_sub(now_usec(CLOCK_MONOTONIC), d->started_usec) > RESET_AFTER)
                d->failures = 0;
        log_warning("the logger ended: %s %d; another one takes its place",
                        si->si_code == CLD_EXITED ? "exit code" : "signal", si->si_status);
        MAP_FOREACH(Pipes, p, &d->pipes) {
                p->handed = p->end_told = false;
                pipes_due(p);
        }
        again_in(d, d->failures == 0 ? 0 : MIN(BACKOFF_MIN << MIN(d->failures - 1, 10U), BACKOFF_MAX));
        d->failures++;
        return 0;
}

/* Its descriptors 3 and 4, whatever ours are. */
static int spawn_logger(OutputDir *d, int socket_fd)
{
        char *const argv[] = { (char *) "tractor-logger", NULL };
        _cleanup_close_ int high = fcntl(socket_fd, F_DUPFD_CLOEXEC, 10),
                            dir = fcntl(d->dir_fd, F_DUPFD_CLOEXEC, 10);
        posix_spawn_file_actions_t actions;
        int r;

        if (high < 0 || dir < 0)
                return -errno;
        r = posix_spawn_file_actions_init(&actions);
        if (r != 0)
                return -r;
        r = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0) ?:
                        posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO) ?:
                        posix_spawn_file_actions_adddup2(&actions, high, LOGGER_FD)              ?:
                        posix_spawn_file_actions_adddup2(&actions, dir, LOGGER_DIR_FD)           ?:
                        -child_spawn(d->program, argv, &actions, &d->pid);
        (void) posix_spawn_file_actions_destroy(&actions);
        return -r;
}

static int start(OutputDir *d)
{
        _cleanup_close_ int theirs = -EBADF;
        int pair[2], r;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return -errno;
        d->fd = pair[0];
        theirs = pair[1];
        r = sd_event_add_io(d->event, &d->io, d->fd, EPOLLIN, on_io, d);
        if (r >= 0)
                r = spawn_logger(d, theirs);
        if (r >= 0)
                r = child_watch(d->event, d->pid, on_ended, d, &d->child);
        if (r < 0) {
                if (d->pid > 0) { /* having only just begun, it is soon gone */
                        (void) kill(d->pid, SIGKILL);
                        (void) waitpid(d->pid, NULL, 0);
                }
                logger_forget(d);
                return r;
        }
        d->started_usec = now_usec(CLOCK_MONOTONIC);
        return 0;
}

static int on_retry(sd_event_source *s, uint64_t usec, void *userdata)
{
        OutputDir *d = userdata;
        int r = d->pid > 0 ? 0 : start(d);

        if (r < 0) {
                log_errno(r, "Can't start the logger");
                again_in(d, BACKOFF_MAX);
                return 0;
        }
        flush(d);
        return 0;
}

/* --- the folder's life --- */

int output_dir_new(sd_event *event, const char *instance, OutputDir **ret)
{
        OutputDir *d = calloc(1, sizeof(OutputDir));
        int r;

        if (!d)
                return -ENOMEM;
        list_init(&d->due);
        d->event = sd_event_ref(event);
        d->fd = -EBADF;
        d->program = find_program("tractor-logger", "../logger", TRACTOR_LIBEXECDIR);
        d->dir_fd = r = d->program ? output_folder_open(instance, &d->path) : -ENOMEM;
        if (r >= 0)
                r = sd_event_add_time(event, &d->retry, CLOCK_MONOTONIC, 0, 0, on_retry, d);
        if (r >= 0)
                r = sd_event_source_set_enabled(d->retry, SD_EVENT_OFF);
        if (r < 0) {
                output_dir_free(d, false);
                return r;
        }
        *ret = d;
        return 0;
}

OutputDir *output_dir_free(OutputDir *d, bool remove)
{
        bool clean = remove || !d || d->pid == 0; /* a logger may still have something to write */
        size_t pos = 0;

        if (!d)
                return NULL;
        logger_forget(d);
        for (Pipes *p; (p = map_next(&d->pipes, &pos)); pos = 0)
                pipes_free(p);
        map_clear(&d->pipes);
        sd_event_source_disable_unref(d->retry);
        sd_event_source_disable_unref(d->limit);
        if (d->path && clean)
                output_folder_clean(d->dir_fd, d->path, remove);
        safe_close(d->dir_fd);
        sd_event_unref(d->event);
        free(d->path);
        free(d->program);
        free(d);
        return NULL;
}

static int on_finish_limit(sd_event_source *s, uint64_t usec, void *userdata)
{
        OutputDir *d = userdata;

        log_warning("the logger does not come to its end: killed");
        (void) kill(d->pid, SIGKILL); /* not reaped: our watch has not told */
        logger_forget(d);
        finished(d);
        return 0;
}

bool output_dir_finish(OutputDir *d, void (*done)(void *userdata), void *userdata)
{
        int r;

        if (!d || d->finished)
                return false;
        if (d->done)
                return true;
        if (d->pid == 0 && (list_is_empty(&d->due) || start(d) < 0))
                return false;
        r = sd_event_add_time_relative(
                        d->event, &d->limit, CLOCK_MONOTONIC, FINISH_TIMEOUT, 0, on_finish_limit, d);
        if (r < 0)
                return false;
        /* After its answers: if it is us who were late, they are there. */
        (void) sd_event_source_set_priority(d->limit, SD_EVENT_PRIORITY_IDLE);
        d->done = done;
        d->userdata = userdata;
        flush(d);
        return true;
}

pid_t output_dir_logger(const OutputDir *d)
{
        return d->pid;
}

/* --- a generation --- */

static int open_pipe(uid_t uid, int *ret_read, int *ret_write)
{
        int fds[2], r;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        r = fd_check_reserve(fds[1]);
        if (r >= 0 && uid != (uid_t) -1 && fchown(fds[1], uid, (gid_t) -1) < 0)
                r = -errno;
        if (r < 0) {
                close_many(fds, 2);
                return r;
        }
        *ret_read = fds[0];
        *ret_write = fds[1];
        return 0;
}

static int pipes_new(OutputDir *d, uint64_t key, const char *actor_path, Pipes **ret)
{
        _cleanup_(pipes_freep) Pipes *p = calloc(1, sizeof(Pipes));
        int r;

        if (!p)
                return -ENOMEM;
        list_init(&p->due);
        p->fds[0] = p->fds[1] = -EBADF;
        p->name = output_file_name(actor_path);
        if (!p->name)
                return -ENOMEM;
        p->key = key;
        r = map_put_u64(&d->pipes, key, p);
        if (r < 0)
                return r;
        p->dir = d;
        *ret = TAKE_PTR(p);
        return 0;
}

char *output_path(const OutputDir *d, const char *actor_path)
{
        _cleanup_free_ char *name = output_file_name(actor_path);

        return name ? xasprintf("%s/%s", d->path, name) : NULL;
}

int output_open(OutputDir *d, uint64_t key, const char *actor_path, unsigned streams, uid_t uid,
                int ret_fds[static 2])
{
        _cleanup_(pipes_freep) Pipes *p = NULL;
        int fds[2] = { -EBADF, -EBADF }, r;

        /* One that died is started by its timer. */
        r = d->pid == 0 && d->failures == 0 ? start(d) : 0;
        if (r >= 0)
                r = pipes_new(d, key, actor_path, &p);
        for (int i = 0; i < 2 && r >= 0; i++)
                if (streams & (1U << i))
                        r = open_pipe(uid, &p->fds[i], &fds[i]);
        if (r < 0) {
                close_many(fds, 2);
                return r;
        }
        memcpy(ret_fds, fds, sizeof(fds));
        pipes_due(TAKE_PTR(p));
        flush(d);
        return 0;
}

void output_end(OutputDir *d, uint64_t key)
{
        Pipes *p = d ? map_get_u64(&d->pipes, key) : NULL;

        if (!p || p->ended)
                return;
        p->ended = true;
        pipes_due(p);
        flush(d);
}

int output_end_tail(OutputDir *d, uint64_t key, unsigned lines,
                void (*handler)(const char *text, void *userdata), void *userdata, OutputTail **ret)
{
        Pipes *p = d ? map_get_u64(&d->pipes, key) : NULL;
        OutputTail *t;
        int r;

        if (!p || p->ended || p->fds[LOGGER_STDERR] < 0)
                return -ENOENT;
        t = calloc(1, sizeof(OutputTail));
        if (!t)
                return -ENOMEM;
        r = sd_event_add_time_relative(
                        d->event, &t->timer, CLOCK_MONOTONIC, TAIL_TIMEOUT, 0, on_tail_limit, t);
        if (r < 0) {
                free(t);
                return r;
        }
        t->handler = handler;
        t->userdata = userdata;
        t->pipes = p;
        p->tail = t;
        p->lines = lines;
        *ret = t;
        output_end(d, key);
        return 0;
}
