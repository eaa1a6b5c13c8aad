/* SPDX-License-Identifier: Apache-2.0 */

/* The logger and its link: bounded files whatever the writer's speed, streams and generations told apart, and a logger
 * that is killed, stopped, or left alone. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/usec.h"
#include "logger/protocol.h"
#include "supervisor/output-folder.h"
#include "supervisor/output.h"
#include "test.h"

static char dir[64];
static sd_event *event;
static OutputDir *output;

static void begin(void)
{
        (void) strcpy(dir, "/tmp/tractor-test-XXXXXX");
        CHECK(mkdtemp(dir));
        CHECK_EQ(setenv("STATE_DIRECTORY", dir, 1), 0);
        CHECK_EQ(setenv("TRACTOR_LIBEXECDIR", LOGGER_FOLDER, 1), 0);
        CHECK(sd_event_new(&event) >= 0);
        CHECK_EQ(output_dir_new(event, "r123abc", &output), 0);
}

static void on_finished(void *userdata)
{
        *(bool *) userdata = true;
}

static void finish(void)
{
        bool done = false;

        if (!output_dir_finish(output, on_finished, &done))
                return;
        while (!done)
                CHECK(sd_event_run(event, UINT64_MAX) >= 0);
}

static void end(void)
{
        finish();
        output = output_dir_free(output, true);
        event = sd_event_unref(event);
        CHECK_EQ(rmdir(dir), 0);
}

static char *content(const char *name)
{
        _cleanup_free_ char *path = xasprintf("%s/r123abc/%s", dir, name);
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        char *text = calloc(1, 5U << 20);
        size_t n = 0;
        ssize_t k;

        CHECK(text);
        while (fd >= 0 && (k = read(fd, text + n, (5U << 20) - 1 - n)) > 0)
                n += (size_t) k;
        return text;
}

/* Every line with a time of its own, which is cut off. */
static char *without_times(const char *name)
{
        char *text = content(name), *to = text;

        for (char *p = text, *next; *p; p = next) {
                next = strchr(p, '\n');
                CHECK(next++);
                CHECK(next - p > 31 && p[4] == '-' && p[10] == 'T' && p[19] == '.' && p[29] == 'Z');
                memmove(to, p + 31, (size_t) (next - p - 31));
                to += next - p - 31;
        }
        *to = 0;
        return text;
}

static void check_lines_of(const char *name, const char *due)
{
        _cleanup_free_ char *text = without_times(name);

        CHECK_STR(text, due);
}

/* --- generations --- */

static void open_streams(uint64_t key, const char *actor, int fds[static 2])
{
        CHECK_EQ(output_open(output, key, actor, 3, (uid_t) -1, fds), 0);
}

typedef struct Words {
        char *text;
} Words;

static void on_words(const char *text, void *userdata)
{
        Words *w = userdata;

        CHECK(!w->text);
        w->text = strdup(text);
}

static void check_words(uint64_t key, unsigned lines, const char *due)
{
        OutputTail *tail = NULL;
        Words w = { 0 };

        CHECK_EQ(output_end_tail(output, key, lines, on_words, &w, &tail), 0);
        while (!w.text)
                CHECK(sd_event_run(event, UINT64_MAX) >= 0);
        output_tail_free(tail);
        CHECK_STR(w.text, due);
        free(w.text);
}

static void say(int fd, const char *text)
{
        CHECK_EQ(write_all(fd, text, strlen(text)), 0);
}

static void streams_and_generations(void)
{
        int a[2], b[2], c[2];

        begin();
        CHECK_EQ(output_dir_logger(output), 0);
        open_streams(1, "/shop/api", a);
        CHECK(output_dir_logger(output) > 0);
        say(a[0], "out one\n");
        say(a[1], "err one\nerr two\nhalf");
        check_words(1, 2, "err two\nhalf");
        /* A grandchild goes on, and the next generation has other last words. */
        open_streams(2, "/shop/api", b);
        say(b[1], "second\n");
        check_words(2, 20, "second\n");
        say(a[1], " and whole\n");
        open_streams(3, "/shop/api", c);
        close_many(a, 2);
        close_many(b, 2);
        close_many(c, 2);
        check_words(3, 20, "");
        output_end(output, 3); /* harmless */
        CHECK_EQ(output_end_tail(output, 3, 1, on_words, NULL, NULL), -ENOENT);
        /* One stream alone. */
        CHECK_EQ(output_open(output, 4, "/quiet", 1, (uid_t) -1, c), 0);
        CHECK_EQ(c[1], -EBADF);
        CHECK_EQ(output_end_tail(output, 4, 1, on_words, NULL, NULL), -ENOENT);
        close_many(c, 2);
        output_end(output, 4);
        finish();
        check_lines_of("shop+api.log", "stdout F out one\nstderr F err one\nstderr F err two\nstderr F "
                                       "second\nstderr F half and "
                                       "whole\n");
        check_lines_of("quiet.log", ""); /* never made */
        end();
}

static void names_and_modes(void)
{
        _cleanup_free_ char *path = xasprintf("x"), *name = NULL;
        struct stat st;
        int fds[2];

        begin();
        name = output_file_name("/shop/api");
        CHECK_STR(name, "shop+api.log");
        CHECK_EQ(output_open(output, 1, "/shop/api", 3, geteuid() == 0 ? 65534 : (uid_t) -1, fds), 0);
        say(fds[0], "text\n");
        if (geteuid() == 0) {
                CHECK_EQ(fstat(fds[0], &st), 0);
                CHECK_EQ(st.st_uid, 65534);
        }
        close_many(fds, 2);
        finish();
        free(path);
        path = xasprintf("%s/r123abc/%s", dir, name);
        CHECK_EQ(stat(path, &st), 0);
        CHECK_EQ(st.st_mode, S_IFREG | 0640);
        CHECK_EQ(st.st_uid, geteuid());
        free(path);
        path = xasprintf("%s/r123abc", dir);
        CHECK_EQ(stat(path, &st), 0);
        CHECK_EQ(st.st_mode, S_IFDIR | 0700);
        end();
}

/* --- writers --- */

/* Lines of 256 bytes, numbered from 1 on, so many for each byte that comes. */
static _Noreturn void write_lines(int fd, int go, char who, unsigned lines)
{
        char line[256], buf;
        uint64_t i = 0;

        memset(line, who, sizeof(line));
        line[sizeof(line) - 1] = '\n';
        while (read(go, &buf, 1) == 1)
                for (unsigned k = 0; k < lines; k++) {
                        int n = snprintf(line, sizeof(line), "%c%020llu ", who, (unsigned long long) ++i);

                        line[n] = who;
                        if (write(fd, line, sizeof(line)) != sizeof(line))
                                _exit(2);
                }
        _exit(0);
}

typedef struct Writer {
        pid_t pid;
        int go;
} Writer;

/* Takes fd, and only that, with it. */
static Writer start_writer(int fd, char who, unsigned lines)
{
        int go[2];
        Writer w;

        CHECK_EQ(pipe2(go, O_CLOEXEC), 0);
        w.pid = fork();
        CHECK(w.pid >= 0);
        if (w.pid == 0) {
                if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || dup2(fd, STDOUT_FILENO) < 0 ||
                                dup2(go[0], STDIN_FILENO) < 0 || close_range(3, ~0U, 0) < 0)
                        _exit(1);
                write_lines(STDOUT_FILENO, STDIN_FILENO, who, lines);
        }
        safe_close(fd);
        safe_close(go[0]);
        w.go = go[1];
        return w;
}

static void stop_writer(Writer *w)
{
        int status;

        w->go = safe_close(w->go);
        CHECK_EQ(waitpid(w->pid, &status, 0), w->pid);
        CHECK_EQ(status, 0);
}

/* Numbers that rise to `last`; what is missing between, and what is no whole line. */
typedef struct Seen {
        uint64_t n, last, missing, torn;
} Seen;

static void look(const char *name, char who, Seen *seen)
{
        _cleanup_free_ char *text = content(name);
        const char *stream = who == 'a' ? "stdout F " : "stderr F ";

        for (char *p = text, *next; *p; p = next) {
                uint64_t i;

                next = strchr(p, '\n');
                CHECK(next++);
                if (next - p < 41 || strncmp(p + 31, stream, 9) != 0)
                        continue;
                if (next - p != 40 + 256 || p[40] != who || p[62] != who) {
                        seen->torn++;
                        continue;
                }
                i = strtoull(p + 41, NULL, 10);
                CHECK(i > seen->last);
                if (seen->n > 0)
                        seen->missing += i - seen->last - 1;
                seen->last = i;
                seen->n++;
        }
}

static uint64_t folder_size(void)
{
        _cleanup_free_ char *path = xasprintf("%s/r123abc", dir);
        DIR *d = opendir(path);
        uint64_t sum = 0;
        struct stat st;

        CHECK(d);
        for (struct dirent *e; (e = readdir(d));)
                if (e->d_name[0] != '.' && fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
                        sum += (uint64_t) st.st_size;
        (void) closedir(d);
        return sum;
}

/* 100 MiB from each of two at once; one look after the other, as fast as they go. A look at the folder may count a file
 * twice, when it is renamed meanwhile, but nothing is ever above. */
static void bounded_at_any_moment(void)
{
        const unsigned lines = (100U << 20) / 256;
        Seen out = { 0 }, err = { 0 };
        uint64_t most = 0, looks = 0;
        struct pollfd ends[2];
        Writer w[2];
        int fds[2];

        begin();
        open_streams(1, "/x", fds);
        w[0] = start_writer(fds[0], 'a', lines);
        w[1] = start_writer(fds[1], 'b', lines);
        for (int i = 0; i < 2; i++) {
                say(w[i].go, "x");
                w[i].go = safe_close(w[i].go);
                ends[i] = (struct pollfd){ .fd = (int) syscall(SYS_pidfd_open, w[i].pid, 0),
                        .events = POLLIN };
                CHECK(ends[i].fd >= 0);
        }
        while (poll(ends, 2, 0) < 2) {
                most = MAX(most, folder_size());
                looks++;
        }
        for (int i = 0; i < 2; i++) {
                stop_writer(&w[i]);
                safe_close(ends[i].fd);
        }
        output_end(output, 1);
        finish();
        most = MAX(most, folder_size());
        fprintf(stderr, "   at most %llu KiB in %llu looks\n", (unsigned long long) most / 1024,
                        (unsigned long long) looks);
        CHECK(most > LOGGER_FILE_MAX && most <= 2 * LOGGER_FILE_MAX);
        look("x.log.1", 'a', &out);
        look("x.log", 'a', &out);
        look("x.log.1", 'b', &err);
        look("x.log", 'b', &err);
        CHECK(out.last == lines || err.last == lines); /* the other may be pushed out */
        CHECK_EQ(out.missing + err.missing + out.torn + err.torn, 0);
        end();
}

/* --- a logger that does not live, or does not let live --- */

static int on_modified(sd_event_source *s, const struct inotify_event *e, void *userdata)
{
        *(bool *) userdata = true;
        return 0;
}

#define ROUNDS 6
#define ROUND_LINES 1000U

/* Killed as it writes: what it had read is lost, and nothing else; its writers never know. */
static void killed(void)
{
        sd_event_source *watch = NULL;
        Seen seen[2] = { 0 };
        bool modified = false;
        Writer w[2];
        int fds[2];

        begin();
        open_streams(1, "/x", fds);
        w[0] = start_writer(fds[0], 'a', ROUND_LINES);
        w[1] = start_writer(fds[1], 'b', ROUND_LINES);
        for (int i = 0; i < ROUNDS; i++) {
                _cleanup_free_ char *path = xasprintf("%s/r123abc", dir);
                pid_t pid;

                CHECK(sd_event_add_inotify(event, &watch, path, IN_MODIFY, on_modified, &modified) >= 0);
                modified = false;
                say(w[0].go, "x");
                say(w[1].go, "x");
                while (!modified || output_dir_logger(output) <= 0)
                        CHECK(sd_event_run(event, UINT64_MAX) >= 0);
                watch = sd_event_source_disable_unref(watch);
                pid = output_dir_logger(output);
                CHECK_EQ(kill(pid, SIGKILL), 0);
                /* Until the next one has the pipes: the writers are waited for without our loop. */
                while (output_dir_logger(output) == pid || output_dir_logger(output) <= 0)
                        CHECK(sd_event_run(event, UINT64_MAX) >= 0);
        }
        stop_writer(&w[0]);
        stop_writer(&w[1]);
        output_end(output, 1);
        finish();
        for (int i = 0; i < 2; i++) {
                Seen *s = &seen[i];

                look("x.log.1", (char) ('a' + i), s);
                look("x.log", (char) ('a' + i), s);
                fprintf(stderr, "   %llu lines, %llu missing, %llu torn\n", (unsigned long long) s->n,
                                (unsigned long long) s->missing, (unsigned long long) s->torn);
                CHECK_EQ(s->last, ROUNDS * ROUND_LINES);
                CHECK(s->missing <= ROUNDS * (65536 / 256 + 1));
                CHECK(s->torn <= 2 * ROUNDS);
        }
        end();
}

/* One that can't go on, as on a disk that hangs: no last words, and no end that waits for it. */
static void stopped(void)
{
        uint64_t start, took;
        int fds[2], status;
        pid_t pid;

        begin();
        open_streams(1, "/x", fds);
        say(fds[1], "never heard\n");
        pid = output_dir_logger(output);
        CHECK_EQ(kill(pid, SIGSTOP), 0);
        CHECK_EQ(waitid(P_PID, (id_t) pid, &(siginfo_t){ 0 }, WSTOPPED | WNOWAIT), 0);
        start = now_usec(CLOCK_MONOTONIC);
        check_words(1, 20, "");
        finish();
        took = now_usec(CLOCK_MONOTONIC) - start;
        CHECK(took >= 3 * USEC_PER_SEC && took < 15 * USEC_PER_SEC);
        close_many(fds, 2);
        CHECK(waitpid(pid, &status, 0) == pid || errno == ECHILD);
        end();
}

static void wait_for_end(int pidfd)
{
        struct pollfd p = { .fd = pidfd, .events = POLLIN };

        CHECK_EQ(poll(&p, 1, 20000), 1);
        safe_close(pidfd);
}

/* Its supervisor is gone: what is written until the writers' end is kept; one that never ends is not waited for. */
static void left_alone(bool writer_ends)
{
        int fds[2], pidfd;
        uint64_t start;
        pid_t pid;

        begin();
        open_streams(1, "/x", fds);
        say(fds[0], "before\n");
        pid = output_dir_logger(output);
        pidfd = (int) syscall(SYS_pidfd_open, pid, 0);
        CHECK(pidfd >= 0);
        output = output_dir_free(output, false);
        start = now_usec(CLOCK_MONOTONIC);
        say(fds[0], "after\n");
        if (writer_ends)
                close_many(fds, 2);
        wait_for_end(pidfd);
        CHECK(writer_ends || now_usec(CLOCK_MONOTONIC) - start >= LOGGER_DRAIN_USEC);
        close_many(fds, 2);
        CHECK(waitpid(pid, NULL, 0) == pid || errno == ECHILD);
        check_lines_of("x.log", "stdout F before\nstdout F after\n");
        CHECK_EQ(output_dir_new(event, "r123abc", &output), 0);
        end();
}

static void left_by_its_supervisor(void)
{
        left_alone(true);
        left_alone(false);
}

/* More than the socket takes at once, and more than one turn of the loop: all are served. */
static void many(void)
{
        enum { N = 1000 };
        static int fds[N][2];
        char name[32];

        begin();
        for (unsigned i = 0; i < N; i++) {
                (void) snprintf(name, sizeof(name), "/t/a%u", i);
                open_streams(i + 1, name, fds[i]);
        }
        for (unsigned i = 0; i < N; i++) {
                (void) snprintf(name, sizeof(name), "I am %u\n", i);
                say(fds[i][i % 2], name);
                close_many(fds[i], 2);
                output_end(output, i + 1);
        }
        finish();
        for (unsigned i = 0; i < N; i++) {
                char due[64];

                (void) snprintf(name, sizeof(name), "t+a%u.log", i);
                (void) snprintf(due, sizeof(due), "%s F I am %u\n", i % 2 ? "stderr" : "stdout", i);
                check_lines_of(name, due);
        }
        end();
}

/* --- the folder --- */

static void what_is_kept(void)
{
        _cleanup_free_ char *path = NULL;
        int fds[2];

        begin();
        path = xasprintf("%s/r123abc", dir);
        open_streams(1, "/silent", fds);
        close_many(fds, 2);
        output_end(output, 1);
        finish();
        output = output_dir_free(output, false);
        CHECK_EQ(access(path, F_OK), -1);
        CHECK_EQ(output_dir_new(event, "r123abc", &output), 0);
        open_streams(1, "/b", fds);
        say(fds[0], "text");
        close_many(fds, 2);
        output_end(output, 1);
        finish();
        output = output_dir_free(output, false);
        CHECK_EQ(access(path, F_OK), 0);
        CHECK_EQ(output_dir_new(event, "r123abc", &output), 0);
        check_lines_of("b.log", "stdout F text\n");
        end();
}

#define CASE(f)                                                                                             \
        {                                                                                                   \
#f, f                                                                                       \
        }

TEST_MAIN(CASE(names_and_modes), CASE(streams_and_generations), CASE(bounded_at_any_moment), CASE(killed),
                CASE(stopped), CASE(left_by_its_supervisor), CASE(many), CASE(what_is_kept));
