/* SPDX-License-Identifier: Apache-2.0 */

/* The bytes that journald would get, at a socket of our own; what happens when nobody takes them. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/usec.h"
#include "supervisor/journal.h"
#include "supervisor/lifecycle-log.h"
#include "test.h"
#include "tractor/messages.h"

static char dir[] = "/tmp/tractor-test-XXXXXX";
static char path[sizeof(dir) + 16];
static sd_event *event;

static int listen_at(void)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        CHECK(fd >= 0);
        (void) snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        (void) unlink(path);
        CHECK_EQ(bind(fd, (const struct sockaddr *) &address, sizeof(address)), 0);
        return fd;
}

/* Turns the loop until nothing is left to do for `usec`; returns how often something was. */
static unsigned turn(uint64_t usec)
{
        unsigned n = 0;

        while (sd_event_run(event, usec) > 0)
                n++;
        return n;
}

static size_t receive(int fd, char *buf, size_t size)
{
        int fds[4] = { -1, -1, -1, -1 };
        size_t n_fds = ELEMENTSOF(fds);
        ssize_t n = recv_fds(fd, buf, size - 1, fds, &n_fds, MSG_DONTWAIT);

        if (n == -EAGAIN)
                return 0;
        CHECK(n >= 0);
        if (n_fds > 0) {
                CHECK_EQ(n_fds, 1);
                CHECK_EQ(n, 0);
                CHECK_EQ(fcntl(fds[0], F_GET_SEALS),
                                F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
                n = pread(fds[0], buf, size - 1, 0);
                CHECK(n > 0);
                close_many(fds, n_fds);
        }
        buf[n] = 0;
        return (size_t) n;
}

static void fields_are_encoded(void)
{
        static const char expected[] = "A=one\nB_2\n\x05\0\0\0\0\0\0\0x\ny\0z\nC=\nD=42\n";
        JournalRecord r = { 0 };
        char name[66];

        journal_field(&r, "A", "one");
        journal_field_n(&r, "B_2", "x\ny\0z", 5);
        journal_field(&r, "C", "");
        journal_fieldf(&r, "D", "%d", 42);
        journal_field(&r, "NONE", NULL);
        journal_field(&r, "_PID", "1");
        journal_field(&r, "9X", "1");
        journal_field(&r, "low", "1");
        journal_field(&r, "A=B", "1");
        journal_field(&r, "", "1");
        memset(name, 'N', 65);
        name[65] = 0;
        journal_field(&r, name, "1");
        CHECK(!r.failed);
        CHECK_EQ(r.n, sizeof(expected) - 1);
        CHECK(memcmp(r.data, expected, r.n) == 0);
        free(r.data);
}

static int send_text(Journal *j, const char *text)
{
        JournalRecord r = { 0 };
        int k;

        journal_field(&r, "PRIORITY", "5");
        journal_field(&r, "MESSAGE", text);
        k = journal_send(j, &r);
        CHECK(!r.data && r.n == 0);
        return k;
}

static void records_arrive(void)
{
        _cleanup_(journal_freep) Journal *j = NULL;
        _cleanup_close_ int fd = listen_at();
        char buf[256];

        CHECK_EQ(journal_new_at(event, path, &j), 0);
        CHECK(journal_available(j));
        CHECK_EQ(send_text(j, "hello"), 0);
        CHECK(receive(fd, buf, sizeof(buf)) > 0);
        CHECK_STR(buf, "PRIORITY=5\nMESSAGE=hello\n");
        CHECK_EQ(receive(fd, buf, sizeof(buf)), 0);
        CHECK_EQ(turn(0), 0);
}

static void large_records_travel_as_memfd(void)
{
        _cleanup_(journal_freep) Journal *j = NULL;
        _cleanup_close_ int fd = listen_at();
        size_t n = 4U * 1024 * 1024;
        _cleanup_free_ char *text = malloc(n + 1), *buf = malloc(n + 64);

        CHECK(text && buf);
        memset(text, 'x', n);
        text[n] = 0;
        CHECK_EQ(journal_new_at(event, path, &j), 0);
        CHECK_EQ(send_text(j, text), 0);
        CHECK_EQ(receive(fd, buf, n + 64), n + strlen("PRIORITY=5\nMESSAGE=\n"));
        CHECK_EQ(journal_dropped(j), 0);
}

/* journald stopped: nothing blocks, memory is bounded, the oldest go, and all that is kept comes in order. */
static void spool_keeps_order_and_counts(void)
{
        _cleanup_(journal_freep) Journal *j = NULL;
        _cleanup_close_ int fd = listen_at();
        enum { COUNT = 3000, PAD = 1000 };
        char text[PAD + 1], buf[PAD + 512];
        unsigned long long lost = 0;
        int last = -1, got = 0;
        uint64_t start = now_usec(CLOCK_MONOTONIC);

        CHECK_EQ(journal_new_at(event, path, &j), 0);
        for (int i = 0; i < COUNT; i++) {
                memset(text, '.', PAD);
                text[PAD] = 0;
                text[snprintf(text, PAD, "%d ", i)] = '.';
                CHECK_EQ(send_text(j, text), 0);
        }
        CHECK(now_usec(CLOCK_MONOTONIC) - start < 5 * USEC_PER_SEC);
        CHECK(journal_available(j));
        CHECK(journal_dropped(j) > 0 && journal_dropped(j) < COUNT);
        /* With a full queue there is nothing to do, so the loop sleeps. */
        CHECK_EQ(turn(20 * USEC_PER_MSEC), 0);
        while (turn(0), receive(fd, buf, sizeof(buf)) > 0) {
                const char *dropped = strstr(buf, "TRACTOR_DROPPED="), *message = strstr(buf, "MESSAGE=");
                int i;

                if (dropped) {
                        CHECK(strstr(buf, "MESSAGE_ID=" TRACTOR_MESSAGE_RECORDS_DROPPED "\n"));
                        CHECK_EQ(lost, 0);
                        lost = strtoull(dropped + strlen("TRACTOR_DROPPED="), NULL, 10);
                        last += (int) lost; /* told where they are missing */
                        continue;
                }
                CHECK(message);
                i = (int) strtol(message + strlen("MESSAGE="), NULL, 10);
                CHECK_EQ(i, last + 1);
                last = i;
                got++;
        }
        CHECK_EQ(last, COUNT - 1);
        CHECK_EQ(lost, journal_dropped(j));
        CHECK_EQ(got + (int) lost, COUNT);
        CHECK_EQ(turn(0), 0);
}

static void replaced_socket_is_found_again(void)
{
        _cleanup_(journal_freep) Journal *j = NULL;
        int fd = listen_at();
        char buf[256];

        CHECK_EQ(journal_new_at(event, path, &j), 0);
        CHECK_EQ(send_text(j, "one"), 0);
        fd = safe_close(fd);
        fd = listen_at();
        CHECK_EQ(send_text(j, "two"), 0);
        CHECK(journal_available(j));
        CHECK(receive(fd, buf, sizeof(buf)) > 0);
        CHECK(strstr(buf, "MESSAGE=two\n"));
        safe_close(fd);
}

/* Collects what is written to stderr meanwhile. */
static char *log_lines(Journal *j, void (*log)(Journal *j))
{
        _cleanup_close_ int saved = dup(STDERR_FILENO), fd = memfd_create("log", MFD_CLOEXEC);
        char buf[4096];
        ssize_t n;

        CHECK(saved >= 0 && fd >= 0);
        CHECK(dup2(fd, STDERR_FILENO) >= 0);
        log(j);
        CHECK(dup2(saved, STDERR_FILENO) >= 0);
        n = pread(fd, buf, sizeof(buf) - 1, 0);
        CHECK(n >= 0);
        buf[n] = 0;
        return strdup(buf);
}

static void send_hello(Journal *j)
{
        CHECK_EQ(send_text(j, "hello"), 0);
}

static void without_a_journal_it_is_a_log_line(void)
{
        _cleanup_(journal_freep) Journal *j = NULL;
        _cleanup_free_ char *text = NULL, *again = NULL;
        _cleanup_close_ int fd = -EBADF;
        char buf[256];

        (void) unlink(path);
        CHECK_EQ(journal_new_at(event, path, &j), 0);
        CHECK(!journal_available(j));
        log_setup("test", LOG_INFO);
        text = log_lines(j, send_hello);
        CHECK_STR(text, "test: hello\n");
        /* A journal that comes up later is found, but not looked for with every record. */
        fd = listen_at();
        again = log_lines(j, send_hello);
        CHECK_STR(again, "test: hello\n");
        CHECK_EQ(poll(NULL, 0, 1050), 0);
        CHECK_EQ(send_text(j, "late"), 0);
        CHECK(journal_available(j));
        CHECK(receive(fd, buf, sizeof(buf)) > 0);
        CHECK(strstr(buf, "MESSAGE=late\n"));
}

static LifecycleRecord a_crash(void)
{
        LifecycleRecord r = LIFECYCLE_RECORD(LIFECYCLE_CRASHED, "/shop/api");

        r.actor_id = "0123456789abcdef";
        r.generation = 3;
        r.cause = "exit";
        r.exit_code = 1;
        r.restarts = 2;
        r.runtime_usec = 3250000;
        r.memory_peak = 1 << 20;
        r.cpu_usec = 7;
        r.restart_usec = 200000;
        r.stderr_tail = "first\nlast \x1b[31mwords\xff\n\n";
        r.object_pid = 4711;
        r.unit = "tractor-sys-shop-api-3.scope";
        return r;
}

#define CRASH_MESSAGE                                                                                       \
        "/shop/api: exited with code 1 after 3.2 s (cause exit), restarting in 200 ms; last words: last  "  \
        "[31mwords?"

static void crash_is_one_record(void)
{
        static const char *const fields[] = { "MESSAGE_ID=" TRACTOR_MESSAGE_CRASHED, "PRIORITY=4",
                "SYSLOG_IDENTIFIER=tractor", "MESSAGE=" CRASH_MESSAGE, "TRACTOR_TREE=shop",
                "TRACTOR_PATH=/shop/api", "TRACTOR_ACTOR_ID=0123456789abcdef", "TRACTOR_GENERATION=3",
                "TRACTOR_EVENT=crashed", "TRACTOR_RESTARTS=2", "TRACTOR_CAUSE=exit", "TRACTOR_EXIT_CODE=1",
                "TRACTOR_RUNTIME_US=3250000", "TRACTOR_MEMORY_PEAK=1048576", "TRACTOR_CPU_US=7",
                "OBJECT_PID=4711", "UNIT=tractor-sys-shop-api-3.scope" };
        _cleanup_(journal_freep) Journal *j = NULL;
        _cleanup_close_ int fd = listen_at();
        LifecycleRecord crash = a_crash();
        char buf[2048];
        size_t n;

        CHECK_EQ(journal_new_at(event, path, &j), 0);
        lifecycle_log(j, &crash);
        n = receive(fd, buf, sizeof(buf));
        CHECK(n > 0);
        for (size_t i = 0; i < ELEMENTSOF(fields); i++) {
                char *at = memmem(buf, n, fields[i], strlen(fields[i]));

                if (!at || (at > buf && at[-1] != '\n') || at[strlen(fields[i])] != '\n')
                        fprintf(stderr, "missing: %s\n", fields[i]);
                CHECK(at && (at == buf || at[-1] == '\n') && at[strlen(fields[i])] == '\n');
        }
        CHECK(memmem(buf, n, "TRACTOR_STDERR\n\x17\0\0\0\0\0\0\0first\n", 29));
        CHECK(!memmem(buf, n, "TRACTOR_SIGNAL", 14));
        CHECK_EQ(receive(fd, buf, sizeof(buf)), 0);
}

static void log_a_crash(Journal *j)
{
        LifecycleRecord r = a_crash();

        lifecycle_log(j, &r);
}

static void crash_is_one_line(void)
{
        _cleanup_(journal_freep) Journal *j = NULL;
        _cleanup_free_ char *text = NULL, *same = NULL;

        (void) unlink(path);
        CHECK_EQ(journal_new_at(event, path, &j), 0);
        log_setup("test", LOG_INFO);
        text = log_lines(j, log_a_crash);
        CHECK_STR(text, "test: " CRASH_MESSAGE "\n");
        same = log_lines(NULL, log_a_crash);
        CHECK_STR(same, text);
}

static void log_signal(Journal *j)
{
        LifecycleRecord r = LIFECYCLE_RECORD(LIFECYCLE_CRASHED, "/a");

        r.signal = 11;
        r.core_dumped = true;
        r.cause = "signal";
        r.runtime_usec = 90 * USEC_PER_SEC;
        r.restart_usec = 0;
        lifecycle_log(j, &r);
        r = LIFECYCLE_RECORD(LIFECYCLE_GAVE_UP, "/a");
        lifecycle_log(j, &r);
        r = LIFECYCLE_RECORD(LIFECYCLE_SUPERVISOR_STARTED, NULL);
        r.text = "backend scope";
        lifecycle_log(j, &r);
}

static void sentences_are_whole(void)
{
        _cleanup_free_ char *text = log_lines(NULL, log_signal);

        CHECK_STR(text, "test: /a: killed by SIGSEGV (core dumped) after 1 min 30 s (cause signal), "
                        "restarting at once\n"
                        "test: /a: gave up: too many restarts\n"
                        "test: backend scope\n");
}

static void tail_without_a_journal_is_empty(void);

static void on_tail(const char *text, void *userdata)
{
        CHECK_STR(text, "");
        ++*(int *) userdata;
}

static void tail_without_a_journal_is_empty(void)
{
        _cleanup_(journal_freep) Journal *j = NULL;
        JournalTail *a = NULL, *b = NULL;
        int calls = 0;

        (void) unlink(path);
        CHECK_EQ(journal_new_at(event, path, &j), 0);
        CHECK_EQ(journal_tail(j, getpid(), 4, 20, on_tail, &calls, &a), 0);
        CHECK_EQ(journal_tail(j, getpid(), 4, 20, on_tail, &calls, &b), 0);
        CHECK_EQ(calls, 0);
        b = journal_tail_free(b);
        turn(10 * USEC_PER_MSEC);
        CHECK_EQ(calls, 1);
        journal_tail_free(a);
}

static void make(const char *file, const char *text, size_t n)
{
        _cleanup_close_ int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        CHECK(fd >= 0);
        CHECK_EQ(write_all(fd, text, n), 0);
}

static void check_tail(const char *file, unsigned lines, const char *expected)
{
        _cleanup_free_ char *text = file_tail(file, lines);

        CHECK_STR(text, expected);
}

static void tails_of_files(void)
{
        char file[sizeof(dir) + 16], *big;

        (void) snprintf(file, sizeof(file), "%s/log", dir);
        check_tail(file, 3, NULL);
        make(file, "", 0);
        check_tail(file, 3, NULL);
        make(file, "a\nb\nc\nd\n", 8);
        check_tail(file, 2, "c\nd\n");
        check_tail(file, 9, "a\nb\nc\nd\n");
        check_tail(file, 0, NULL);
        make(file, "a\nb\nhalf", 8);
        check_tail(file, 2, "b\nhalf");
        make(file, "a\0b\nc", 5);
        check_tail(file, 5, "a?b\nc");
        check_tail(dir, 5, NULL);

        /* Bounded, whatever a line's length. */
        big = malloc(1 << 20);
        CHECK(big);
        memset(big, 'x', 1 << 20);
        make(file, big, 1 << 20);
        free(big);
        big = file_tail(file, 2);
        CHECK(big);
        CHECK_EQ(strlen(big), TAIL_MAX);
        free(big);
        CHECK_EQ(unlink(file), 0);
        CHECK_EQ(mkfifo(file, 0600), 0);
        check_tail(file, 1, NULL);
        CHECK_EQ(unlink(file), 0);
}

static void set_up(void)
{
        CHECK(mkdtemp(dir));
        (void) snprintf(path, sizeof(path), "%s/socket", dir);
        CHECK(sd_event_new(&event) >= 0);
}

static void tear_down(void)
{
        event = sd_event_unref(event);
        (void) unlink(path);
        CHECK_EQ(rmdir(dir), 0);
}

TEST_MAIN({ "set_up", set_up }, { "fields_are_encoded", fields_are_encoded },
                { "records_arrive", records_arrive },
                { "large_records_travel_as_memfd", large_records_travel_as_memfd },
                { "spool_keeps_order_and_counts", spool_keeps_order_and_counts },
                { "replaced_socket_is_found_again", replaced_socket_is_found_again },
                { "without_a_journal_it_is_a_log_line", without_a_journal_it_is_a_log_line },
                { "crash_is_one_record", crash_is_one_record }, { "crash_is_one_line", crash_is_one_line },
                { "sentences_are_whole", sentences_are_whole },
                { "tail_without_a_journal_is_empty", tail_without_a_journal_is_empty },
                { "tails_of_files", tails_of_files }, { "tear_down", tear_down });
