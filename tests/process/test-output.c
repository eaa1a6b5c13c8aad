/* SPDX-License-Identifier: Apache-2.0 */

/* Bounded output files under a writer that never pauses, on the file system at hand and on tmpfs; and what may stand
 * on the way to them. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <linux/magic.h>
#include <unistd.h>

#include "base/io.h"
#include "base/usec.h"
#include "supervisor/output.h"
#include "test.h"

static char dir[64];
static sd_event *event;
static OutputDir *output;

static void begin_in(const char *base)
{
        (void) snprintf(dir, sizeof(dir), "%s/tractor-test-XXXXXX", base);
        CHECK(mkdtemp(dir));
        CHECK_EQ(setenv("STATE_DIRECTORY", dir, 1), 0);
        CHECK(sd_event_new(&event) >= 0);
        CHECK_EQ(output_dir_new(event, "r123abc", &output), 0);
}

static void begin(void)
{
        begin_in("/tmp");
}

static void end(void)
{
        output = output_dir_free(output, true);
        event = sd_event_unref(event);
        CHECK_EQ(rmdir(dir), 0);
}

static unsigned turn(uint64_t usec)
{
        uint64_t until = now_usec(CLOCK_MONOTONIC) + usec, now;
        unsigned n = 0;

        do {
                now = now_usec(CLOCK_MONOTONIC);
                n += sd_event_run(event, now < until ? until - now : 0) > 0;
        } while (now < until);
        return n;
}

static char *open_file(const char *actor)
{
        char *path = NULL;

        CHECK_EQ(output_dir_open(output, actor, geteuid(), getegid(), &path), 0);
        return path;
}

/* Numbered lines, as fast as they go, until the pipe is closed; then the last number is the answer. */
static void write_lines(const char *path, char who, int stop, int answer)
{
        int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
        char line[256], buf;
        uint64_t i = 0;

        if (fd < 0 || fd_set_nonblock(stop, true) < 0)
                _exit(1);
        memset(line, who, sizeof(line));
        while (read(stop, &buf, 1) < 0) {
                int n = snprintf(line, sizeof(line), "%c%020llu ", who, (unsigned long long) ++i);

                line[n] = who;
                line[sizeof(line) - 1] = '\n';
                if (write(fd, line, sizeof(line)) != sizeof(line))
                        _exit(2);
        }
        _exit(write(answer, &i, sizeof(i)) == sizeof(i) ? 0 : 3);
}

typedef struct Writer {
        pid_t pid;
        int stop, answer;
        uint64_t last;
} Writer;

static Writer start_writer(const char *path, char who)
{
        int stop[2], answer[2];
        Writer w;

        CHECK_EQ(pipe2(stop, O_CLOEXEC), 0);
        CHECK_EQ(pipe2(answer, O_CLOEXEC), 0);
        w.pid = fork();
        CHECK(w.pid >= 0);
        if (w.pid == 0) {
                safe_close(stop[1]);
                write_lines(path, who, stop[0], answer[1]);
        }
        safe_close(stop[0]);
        safe_close(answer[1]);
        w.stop = stop[1];
        w.answer = answer[0];
        return w;
}

static void stop_writer(Writer *w)
{
        int status;

        w->stop = safe_close(w->stop);
        CHECK_EQ(read(w->answer, &w->last, sizeof(w->last)), sizeof(w->last));
        safe_close(w->answer);
        CHECK_EQ(waitpid(w->pid, &status, 0), w->pid);
        CHECK_EQ(status, 0);
}

/* From the first whole line on, both writers' numbers rise by one to the last they wrote. Returns the number of lines. */
static uint64_t check_lines(const char *path, const Writer *writers)
{
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        uint64_t next[2] = { 0 }, n = 0;
        char line[512];
        off_t at;
        FILE *f;

        CHECK(fd >= 0);
        at = lseek(fd, 0, SEEK_DATA);
        CHECK(at >= 0);
        CHECK(lseek(fd, at, SEEK_SET) >= 0);
        f = fdopen(TAKE_FD(fd), "r");
        CHECK(f);
        if (at > 0)
                CHECK(fgets(line, sizeof(line), f)); /* perhaps the end of a line */
        while (fgets(line, sizeof(line), f)) {
                unsigned who = (unsigned) (line[0] - 'a');
                uint64_t i;

                if (line[0] != 'a' && line[0] != 'b' && n == 0 && next[0] + next[1] == 0)
                        continue; /* the end of a line, after a collapse */
                CHECK(who < 2);
                CHECK_EQ(strlen(line), 256);
                i = strtoull(line + 1, NULL, 10);
                CHECK(i > 0);
                CHECK(next[who] == 0 || i == next[who]);
                next[who] = i + 1;
                n++;
        }
        /* The one that ended first may have been overtaken by more than is kept. */
        CHECK_EQ(next[0], writers[0].last + 1);
        CHECK(next[1] == 0 || next[1] == writers[1].last + 1);
        (void) fclose(f);
        return n;
}

static uint64_t used(const char *path)
{
        struct stat st;

        CHECK_EQ(stat(path, &st), 0);
        return (uint64_t) st.st_blocks * 512;
}

static void stays_bounded(void)
{
        _cleanup_free_ char *path = open_file("/shop/api");
        uint64_t until = now_usec(CLOCK_MONOTONIC) + 3 * USEC_PER_SEC, written, most = 0;
        Writer w[2];

        w[0] = start_writer(path, 'a');
        w[1] = start_writer(path, 'b');
        while (now_usec(CLOCK_MONOTONIC) < until) {
                turn(10 * USEC_PER_MSEC);
                most = MAX(most, used(path));
        }
        stop_writer(&w[1]); /* first, since it has the other's pipe open, too */
        stop_writer(&w[0]);
        turn(600 * USEC_PER_MSEC);
        written = (w[0].last + w[1].last) * 256;
        fprintf(stderr, "   wrote %llu KiB, at most %llu KiB in use, %llu at the end\n",
                        (unsigned long long) written / 1024, (unsigned long long) most / 1024,
                        (unsigned long long) used(path) / 1024);
        CHECK(written > 4ULL * OUTPUT_FILE_MAX);
        CHECK(used(path) <= OUTPUT_FILE_MAX + 64U * 1024);
        CHECK(most < MAX(written / 2, 4ULL * OUTPUT_FILE_MAX));
        CHECK(check_lines(path, w) >= OUTPUT_FILE_KEEP / 256 - 1);
        /* Silence costs nothing. */
        CHECK_EQ(turn(600 * USEC_PER_MSEC), 0);
}

static void bounded_here(void)
{
        begin();
        stays_bounded();
        end();
}

static void bounded_on_tmpfs(void)
{
        struct statfs fs;

        if (statfs("/dev/shm", &fs) < 0 || fs.f_type != TMPFS_MAGIC)
                skip("/dev/shm is no tmpfs");
        begin_in("/dev/shm");
        stays_bounded();
        end();
}

static void append(const char *path, const char *text)
{
        _cleanup_close_ int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);

        CHECK(fd >= 0);
        CHECK_EQ(write_all(fd, text, strlen(text)), 0);
}

/* A file below the limit is never touched, and growth wakes the loop at most four times a second. */
static void small_files_are_left_alone(void)
{
        _cleanup_free_ char *path = NULL;
        uint64_t start = now_usec(CLOCK_MONOTONIC), quarters;
        unsigned wakeups = 0;

        begin();
        path = open_file("/a");
        turn(20 * USEC_PER_MSEC);
        for (int i = 0; i < 100; i++) {
                append(path, "line\n");
                wakeups += turn(10 * USEC_PER_MSEC);
        }
        quarters = (now_usec(CLOCK_MONOTONIC) - start) / (250 * USEC_PER_MSEC);
        CHECK(wakeups <= 2 * quarters + 4); /* hearing of it, and looking */
        CHECK_EQ(used(path), 4096);
        end();
}

static void names_and_modes(void)
{
        _cleanup_free_ char *a = NULL, *again = NULL, *expected = NULL, *other = NULL;
        struct stat st;

        begin();
        a = open_file("/shop/api");
        expected = xasprintf("%s/r123abc/shop+api.log", dir);
        CHECK_STR(a, expected);
        CHECK_EQ(stat(a, &st), 0);
        CHECK_EQ(st.st_mode, S_IFREG | 0640);
        append(a, "text\n");
        again = open_file("/shop/api");
        CHECK_STR(again, a);
        CHECK_EQ(stat(a, &st), 0);
        CHECK_EQ(st.st_size, 5);
        /* Removed by an administrator: the next generation has it again. */
        CHECK_EQ(unlink(a), 0);
        free(again);
        again = open_file("/shop/api");
        CHECK_EQ(stat(a, &st), 0);
        free(again);
        again = xasprintf("%s/r123abc", dir);
        CHECK_EQ(stat(again, &st), 0);
        CHECK_EQ(st.st_mode, S_IFDIR | 0700);
        if (geteuid() == 0) {
                CHECK_EQ(output_dir_open(output, "/other", 65534, 65533, &other), 0);
                CHECK_EQ(stat(other, &st), 0);
                CHECK_EQ(st.st_uid, 65534);
                CHECK_EQ(st.st_gid, 65533);
        }
        end();
}

static void long_paths_keep_apart(void)
{
        char path[40 * 65 + 2] = "";
        _cleanup_free_ char *a = NULL, *b = NULL, *c = NULL;

        begin();
        for (int i = 0; i < 40; i++) {
                path[i * 65] = '/';
                memset(path + i * 65 + 1, 'x', 64);
        }
        a = open_file(path);
        path[1] = 'y';
        b = open_file(path);
        path[sizeof(path) - 3] = 'z';
        c = open_file(path);
        CHECK(!streq(a, b) && !streq(b, c) && !streq(a, c));
        CHECK(strlen(strrchr(a, '/') + 1) <= 255);
        end();
}

static void empty_files_go(void)
{
        _cleanup_free_ char *a = NULL, *b = NULL, *c = NULL;

        begin();
        a = open_file("/a");
        b = open_file("/b");
        c = open_file("/c");
        append(b, "text\n");
        output_dir_close(output, "/a");
        output_dir_close(output, "/b");
        output_dir_close(output, "/b");
        CHECK_EQ(access(a, F_OK), -1);
        CHECK_EQ(access(b, F_OK), 0);
        CHECK_EQ(access(c, F_OK), 0);
        output = output_dir_free(output, false);
        CHECK_EQ(access(b, F_OK), 0);
        CHECK_EQ(access(c, F_OK), -1);
        CHECK_EQ(output_dir_new(event, "r123abc", &output), 0);
        end();
}

/* What stands under a file's name, or on the way to the folder. */
static void links_are_refused(void)
{
        _cleanup_free_ char *name = NULL, *target = NULL, *path = NULL, *way = NULL, *through = NULL;
        OutputDir *d = NULL;
        struct stat st;

        begin();
        target = xasprintf("%s/target", dir);
        name = xasprintf("%s/r123abc/a.log", dir);
        CHECK_EQ(symlink(target, name), 0);
        CHECK_EQ(output_dir_open(output, "/a", geteuid(), getegid(), &path), -ELOOP);
        CHECK_EQ(access(target, F_OK), -1);
        CHECK_EQ(unlink(name), 0);
        CHECK_EQ(mknod(target, S_IFREG | 0600, 0), 0);
        CHECK_EQ(link(target, name), 0);
        CHECK_EQ(output_dir_open(output, "/a", geteuid(), getegid(), &path), -EEXIST);
        CHECK_EQ(stat(target, &st), 0);
        CHECK_EQ(st.st_mode & 07777, 0600);
        CHECK_EQ(unlink(name), 0);
        CHECK_EQ(mkfifo(name, 0600), 0);
        CHECK(output_dir_open(output, "/a", geteuid(), getegid(), &path) < 0);
        CHECK_EQ(unlink(name), 0);
        CHECK_EQ(unlink(target), 0);
        CHECK(!path);

        /* A link of ours is fine, relative or not; a loop ends; one of another user is refused. */
        way = xasprintf("%s/way", dir);
        through = xasprintf("%s/way/state", dir);
        CHECK_EQ(symlink("r123abc/../r123abc", way), 0);
        CHECK_EQ(setenv("STATE_DIRECTORY", through, 1), 0);
        CHECK_EQ(output_dir_new(event, "one", &d), 0);
        path = xasprintf("%s/r123abc/state/one", dir);
        CHECK_EQ(stat(path, &st), 0);
        d = output_dir_free(d, true);
        CHECK_EQ(stat(path, &st), -1);
        free(path);
        path = xasprintf("%s/r123abc/state", dir);
        CHECK_EQ(rmdir(path), 0);
        path = (free(path), NULL);
        if (geteuid() == 0) {
                CHECK_EQ(lchown(way, 65534, 65534), 0);
                CHECK_EQ(output_dir_new(event, "one", &d), -ELOOP);
        }
        CHECK_EQ(unlink(way), 0);
        CHECK_EQ(symlink("way", way), 0);
        CHECK_EQ(output_dir_new(event, "one", &d), -ELOOP);
        CHECK_EQ(unlink(way), 0);
        CHECK_EQ(mknod(way, S_IFREG | 0600, 0), 0);
        CHECK_EQ(output_dir_new(event, "one", &d), -ENOTDIR);
        CHECK_EQ(unlink(way), 0);
        end();
}

/* The folder of another user is no place for ours. */
static void foreign_folder_is_refused(void)
{
        _cleanup_free_ char *path = NULL;
        OutputDir *d = NULL;

        if (geteuid() != 0)
                skip("needs root to make one");
        begin();
        path = xasprintf("%s/two", dir);
        CHECK_EQ(mkdir(path, 0777), 0);
        CHECK_EQ(chown(path, 65534, 65534), 0);
        CHECK_EQ(output_dir_new(event, "two", &d), -EPERM);
        CHECK_EQ(rmdir(path), 0);
        end();
}

#define CASE(f)                                                                                             \
        {                                                                                                   \
#f, f                                                                                       \
        }

TEST_MAIN(CASE(names_and_modes), CASE(long_paths_keep_apart), CASE(empty_files_go), CASE(links_are_refused),
                CASE(foreign_folder_is_refused), CASE(small_files_are_left_alone), CASE(bounded_here),
                CASE(bounded_on_tmpfs));
