/* SPDX-License-Identifier: Apache-2.0 */

/* tractor-logger: the one process of an instance that writes what actors say to disk, where there is no journal. It
 * waits for the disk, and nobody waits for it but the writers, in their pipes. Each turn takes at most one read from
 * each pipe that has something, so that none keeps the others waiting. It outlives its supervisor for what is still in
 * the pipes, and no longer. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/usec.h"
#include "logger/store.h"

#define READ_SIZE (64U * 1024)
/* As much as a pipe can hold at most, unless root made it so: what its grandchildren go on to say is not waited for. */
#define DRAIN_MAX (1024U * 1024 / READ_SIZE)
#define EVENTS_A_TURN 64

typedef struct Generation Generation;

typedef struct Stream {
        Generation *generation; /* weak */
        int fd;                 /* -EBADF: at its end, or never there */
        Line line;
} Stream;

struct Generation {
        uint64_t key;
        LogFile *file;
        Stream streams[_LOGGER_STREAMS];
        Tail tail;
        bool ended; /* END was said */
};

typedef struct Logger {
        int epoll_fd;
        size_t n_streams;
        Map generations;
        bool orphaned;
        Store store;
} Logger;

static Logger logger = {
        .store = { .dir_fd = LOGGER_DIR_FD,
                        .file_max = LOGGER_FILE_MAX,
                        .total_max = LOGGER_TOTAL_MAX,
                        .files_max = LOGGER_FILES_MAX },
};

static int answer(uint64_t key, LoggerMessageType type, const char *text, size_t n)
{
        LoggerAnswer m = { .key = key, .type = type, .size = (uint32_t) n };
        ssize_t k;

        if (logger.orphaned)
                return 0;
        if (n > 0)
                memcpy(m.text, text, n);
        k = send_fds(LOGGER_FD, &m, offsetof(LoggerAnswer, text) + n, NULL, 0, 0);
        return k < 0 && k != -EPIPE && k != -ECONNRESET ? (int) k : 0;
}

/* --- a generation --- */

static bool is_done(const Generation *g)
{
        return g->ended && g->streams[LOGGER_STDOUT].fd < 0 && g->streams[LOGGER_STDERR].fd < 0;
}

static void stream_close(Stream *s)
{
        if (s->fd < 0)
                return;
        /* Closing is not enough: the supervisor has it open. */
        (void) epoll_ctl(logger.epoll_fd, EPOLL_CTL_DEL, s->fd, NULL);
        s->fd = safe_close(s->fd);
        logger.n_streams--;
}

static Generation *generation_free(Generation *g)
{
        if (!g)
                return NULL;
        (void) map_remove_u64(&logger.generations, g->key);
        for (int i = 0; i < _LOGGER_STREAMS; i++) {
                stream_close(&g->streams[i]);
                line_done(&g->streams[i].line);
        }
        tail_done(&g->tail);
        log_file_put(g->file);
        free(g);
        return NULL;
}
DEFINE_CLEANUP(Generation *, generation_free);

static int generation_leave(Generation *g)
{
        uint64_t key = g->key;

        if (!is_done(g))
                return 0;
        generation_free(g);
        return answer(key, LOGGER_DONE, NULL, 0);
}

/* --- a stream --- */

static void stamp(char ret[static CRI_TIME_SIZE])
{
        struct timespec now = { 0 };

        (void) clock_gettime(CLOCK_REALTIME, &now);
        cri_time(now.tv_sec, now.tv_nsec, ret);
}

static void stream_write(Stream *s, const char *p, size_t n, bool end)
{
        Generation *g = s->generation;
        const char *name = s == &g->streams[LOGGER_STDERR] ? "stderr" : "stdout";
        char time[CRI_TIME_SIZE];
        Piece piece;

        stamp(time);
        while (line_next(&s->line, &p, &n, &piece))
                store_put(g->file, time, name, &piece);
        if (end && line_rest(&s->line, &piece))
                store_put(g->file, time, name, &piece);
        store_flush(g->file, time);
        if (s->line.n == 0)
                line_done(&s->line);
}

/* One read. False when there is no more just now, or for ever. */
static bool stream_turn(Stream *s)
{
        static char buffer[READ_SIZE];
        ssize_t n = read(s->fd, buffer, sizeof(buffer));

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return false;
        if (n > 0) {
                if (s == &s->generation->streams[LOGGER_STDERR])
                        tail_put(&s->generation->tail, buffer, (size_t) n);
                stream_write(s, buffer, (size_t) n, false);
                return true;
        }
        stream_write(s, NULL, 0, true);
        stream_close(s);
        return false;
}

static void stream_drain(Stream *s)
{
        for (unsigned i = 0; i < DRAIN_MAX && s->fd >= 0 && stream_turn(s); i++)
                ;
}

/* The file's status flags are this end's own: the supervisor's copy is never read. */
static int stream_open(Stream *s, Generation *g, int *fd)
{
        struct epoll_event event = { .events = EPOLLIN, .data.ptr = s };

        if (fcntl(*fd, F_SETFL, O_NONBLOCK) < 0 ||
                        epoll_ctl(logger.epoll_fd, EPOLL_CTL_ADD, *fd, &event) < 0)
                return -errno;
        s->generation = g;
        s->fd = TAKE_FD(*fd);
        logger.n_streams++;
        return 0;
}

/* --- the supervisor's messages --- */

static int generation_new(const LoggerRequest *m, int *fds, size_t n_fds)
{
        _cleanup_(generation_freep) Generation *g = calloc(1, sizeof(Generation));
        size_t taken = 0;
        int r;

        if (!g)
                return -ENOMEM;
        g->streams[LOGGER_STDOUT].fd = g->streams[LOGGER_STDERR].fd = -EBADF;
        r = log_file_get(&logger.store, m->name, &g->file);
        if (r < 0)
                return r;
        r = map_put_u64(&logger.generations, m->key, g);
        if (r < 0)
                return r;
        g->key = m->key;
        for (int i = 0; i < _LOGGER_STREAMS; i++) {
                if (!(m->streams & (1U << i)))
                        continue;
                if (taken == n_fds)
                        return -EINVAL;
                r = fd_check_reserve(fds[taken]);
                if (r >= 0)
                        r = stream_open(&g->streams[i], g, &fds[taken]);
                if (r < 0)
                        return r;
                taken++;
        }
        TAKE_PTR(g);
        return 0;
}

static int generation_end(uint64_t key, unsigned lines)
{
        Generation *g = map_get_u64(&logger.generations, key);
        char text[LOGGER_TEXT_MAX];
        int r = 0;

        if (!g) /* its streams could not be taken */
                return lines > 0 ? answer(key, LOGGER_TEXT, NULL, 0) : 0;
        for (int i = 0; i < _LOGGER_STREAMS; i++)
                stream_drain(&g->streams[i]);
        if (lines > 0)
                r = answer(key, LOGGER_TEXT, text, tail_get(&g->tail, lines, text));
        g->ended = true;
        return r < 0 ? r : generation_leave(g);
}

static int dispatch(const LoggerRequest *m, int *fds, size_t n_fds, bool lost_fds)
{
        int r;

        if (m->version != LOGGER_VERSION)
                return log_errno(-EPROTO, "a supervisor of another version");
        switch (m->type) {
        case LOGGER_STREAMS:
                r = lost_fds ? -EMFILE : generation_new(m, fds, n_fds);
                return r < 0 ? answer(m->key, LOGGER_FULL, NULL, 0) : 0;
        case LOGGER_END:
                return generation_end(m->key, m->lines);
        default:
                return -EPROTO;
        }
}

/* 1: there may be more. */
static int receive(void)
{
        LoggerRequest m = { 0 };
        int fds[_LOGGER_STREAMS], r;
        size_t n_fds = ELEMENTSOF(fds);
        ssize_t n = recv_fds(LOGGER_FD, &m, sizeof(m), fds, &n_fds, MSG_DONTWAIT);
        bool lost_fds = n == -EXFULL;

        if (n == -EAGAIN)
                return 0;
        if (n == 0 || n == -ECONNRESET) {
                logger.orphaned = true;
                return 0;
        }
        if (n < 0 && !lost_fds)
                return (int) n;
        m.name[LOGGER_NAME_MAX] = 0;
        r = dispatch(&m, fds, n > 0 ? n_fds : 0, lost_fds);
        if (n > 0)
                close_many(fds, n_fds);
        return r < 0 ? r : 1;
}

/* --- the loop --- */

/* Pipes first: a message may free what an event is about. */
static int turn(int timeout_msec)
{
        struct epoll_event events[EVENTS_A_TURN];
        int n = epoll_wait(logger.epoll_fd, events, ELEMENTSOF(events), timeout_msec), r = 1;
        bool asked = false;

        if (n < 0)
                return errno == EINTR ? 0 : -errno;
        for (int i = 0; i < n; i++) {
                Stream *s = events[i].data.ptr;

                if (!s) {
                        asked = true;
                } else if (!stream_turn(s) && s->fd < 0) {
                        r = generation_leave(s->generation);
                        if (r < 0)
                                return r;
                }
        }
        for (int i = 0; i < EVENTS_A_TURN && asked && r > 0; i++)
                r = receive();
        return r < 0 ? r : 0;
}

static int serve(void)
{
        int r = 0;

        while (r >= 0 && !logger.orphaned)
                r = turn(-1);
        return r;
}

/* Nobody will hand us more: what is in the pipes, and what their writers say to their own end. */
static int drain(void)
{
        uint64_t end = now_usec(CLOCK_MONOTONIC) + LOGGER_DRAIN_USEC, now;
        int r = 0;

        (void) epoll_ctl(logger.epoll_fd, EPOLL_CTL_DEL, LOGGER_FD, NULL);
        while (r >= 0 && logger.n_streams > 0 && (now = now_usec(CLOCK_MONOTONIC)) < end)
                r = turn((int) ((end - now) / USEC_PER_MSEC) + 1);
        return r;
}

/* One that drains for a supervisor that died may still be at these files. The lock is held until we end. */
static int wait_for_folder(void)
{
        int fd = openat(LOGGER_DIR_FD, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        return fd < 0 || flock(fd, LOCK_EX) < 0 ? -errno : 0;
}

static int prepare(void)
{
        static const int ignored[] = { SIGPIPE, SIGHUP, SIGTERM, SIGINT, SIGXFSZ };
        struct epoll_event event = { .events = EPOLLIN };

        for (size_t i = 0; i < ELEMENTSOF(ignored); i++)
                if (signal(ignored[i], SIG_IGN) == SIG_ERR)
                        return -errno;
        (void) umask(0);
        logger.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (logger.epoll_fd < 0 || epoll_ctl(logger.epoll_fd, EPOLL_CTL_ADD, LOGGER_FD, &event) < 0)
                return -errno;
        return wait_for_folder();
}

int main(void)
{
        int r;

        log_setup("tractor-logger", LOG_INFO);
        log_never_wait();
        r = prepare();
        if (r >= 0)
                r = serve();
        if (r >= 0)
                r = drain();
        if (r < 0)
                log_errno(r, "it is started by tractor-supervisor, which it serves");
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
