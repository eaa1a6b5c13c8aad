/* SPDX-License-Identifier: Apache-2.0 */

/* Last words and crash records with the real journald: written by a process, by its children, with prefixes of their
 * own, in a scope whose cgroup is gone by then; and a journald that is stopped. This program is its own reader. */

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/usec.h"
#include "supervisor/journal.h"
#include "supervisor/lifecycle-log.h"

#define main test_program
static int test_program(int argc, char **argv);
#include "test.h"

#define FACILITY_STDERR (LOG_DAEMON | LOG_WARNING)

static sd_event *event;
static Journal *journal;
static int priority_of_stderr;

/* With the unit's name in the stream's header journald knows where a line belongs even when its writer has ended before
 * it gets to look. */
static int open_stream(const char *unit, int priority)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "/run/systemd/journal/stdout" };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd < 0 || connect(fd, (const struct sockaddr *) &address, sizeof(address)) < 0)
                return -errno;
        /* identifier, unit, priority, level prefix, syslog, kmsg, console */
        return dprintf(fd, "test-actor\n%s\n%d\n1\n0\n0\n0\n", unit ?: "", priority) > 0 ? fd : -EIO;
}

/* An actor as the keeper would start it, with both streams to the journal. Dead, but not reaped, on return. */
static pid_t run_actor(const char *scope, const char *script)
{
        _cleanup_free_ char *unit = xasprintf("--unit=%s", scope ?: "");
        siginfo_t si;
        pid_t pid = fork();

        CHECK(pid >= 0);
        if (pid == 0) {
                int out = open_stream(scope, LOG_INFO), err = open_stream(scope, priority_of_stderr);

                if (out < 0 || err < 0)
                        _exit(101);
                if (dup2(out, 1) < 0 || dup2(err, 2) < 0)
                        _exit(102);
                if (scope)
                        (void) execlp("systemd-run", "systemd-run", "--quiet", "--scope", unit, "sh", "-c",
                                        script, NULL);
                else
                        (void) execl("/bin/sh", "sh", "-c", script, NULL);
                _exit(103);
        }
        CHECK_EQ(waitid(P_PID, (id_t) pid, &si, WEXITED | WNOWAIT), 0);
        return pid;
}

static void reap(pid_t pid)
{
        int status;

        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK(WIFEXITED(status));
        CHECK_EQ(WEXITSTATUS(status), 7);
}

typedef struct Tail {
        bool called;
        char text[TAIL_MAX + 1];
} Tail;

static void on_tail(const char *text, void *userdata)
{
        Tail *t = userdata;

        CHECK(!t->called);
        t->called = true;
        (void) snprintf(t->text, sizeof(t->text), "%s", text);
}

static void turn_until(const bool *flag)
{
        uint64_t until = now_usec(CLOCK_MONOTONIC) + 20 * USEC_PER_SEC;

        while (!*flag) {
                CHECK(now_usec(CLOCK_MONOTONIC) < until);
                CHECK(sd_event_run(event, USEC_PER_SEC) >= 0);
        }
}

static const char *tail_of(pid_t pid, unsigned lines)
{
        static Tail t;
        JournalTail *tail = NULL;

        t.called = false;
        CHECK_EQ(journal_tail(journal, pid, priority_of_stderr, lines, on_tail, &t, &tail), 0);
        CHECK(!t.called);
        turn_until(&t.called);
        journal_tail_free(tail);
        return t.text;
}

static void stderr_of_the_process(void)
{
        pid_t pid = run_actor(
                        NULL, "echo out; echo one >&2; echo out2; echo two >&2; printf half >&2; exit 7");

        CHECK_STR(tail_of(pid, 20), "one\ntwo\nhalf\n");
        CHECK_STR(tail_of(pid, 2), "two\nhalf\n");
        reap(pid);
        pid = run_actor(NULL, "echo out; exit 7");
        CHECK_STR(tail_of(pid, 20), "");
        reap(pid);
}

/* Another process's lines, even if they are newer, are not ours. */
static void strangers_are_not_heard(void)
{
        pid_t a = run_actor(NULL, "echo ours >&2; exit 7"), b = run_actor(NULL, "echo theirs >&2; exit 7");

        CHECK_STR(tail_of(a, 20), "ours\n");
        CHECK_STR(tail_of(b, 20), "theirs\n");
        reap(a);
        reap(b);
}

/* Written by what a shell runs, in a scope that is gone by the time we look. Twice under the same name. */
static void the_scope_is_heard(void)
{
        static const char unit[] = "test-tail-1.scope";
        pid_t pid;

        pid = run_actor(unit, "echo first generation >&2; exit 7");
        CHECK_STR(tail_of(pid, 20), "first generation\n");
        reap(pid);
        CHECK_EQ(poll(NULL, 0, 50), 0); /* process times are in ticks */
        pid = run_actor(unit, "echo out; sh -c 'echo child >&2; exit 3'; /bin/echo grandchild >&2; exit 7");
        CHECK_STR(tail_of(pid, 20), "child\ngrandchild\n");
        reap(pid);
}

/* <N> replaces the level, not the facility: with it, stderr stays stderr. */
static void prefixes_do_not_confuse(void)
{
        pid_t pid;

        priority_of_stderr = FACILITY_STDERR;
        pid = run_actor(NULL, "echo '<4>warning on stdout'; echo '<3>bad' >&2; echo '<6>info' >&2; exit 7");
        CHECK_STR(tail_of(pid, 20), "bad\ninfo\n");
        reap(pid);
        priority_of_stderr = JOURNAL_PRIORITY_STDERR;
}

static void much_is_bounded(void)
{
        pid_t pid = run_actor(NULL,
                        "i=0; while [ $i -lt 40 ]; do i=$((i+1)); printf '%d %01000d\\n' $i 0 >&2; done;"
                        "exit 7");
        const char *text = tail_of(pid, 100);

        CHECK(strlen(text) <= TAIL_MAX && strlen(text) > TAIL_MAX - 1100);
        CHECK(strstr(text, "\n40 "));
        CHECK(strncmp(text, "25 ", 3) == 0); /* whole lines */
        reap(pid);
        /* One line that is too long for all: its end. */
        pid = run_actor(NULL, "printf '%020000d end\\n' 0 >&2; exit 7");
        text = tail_of(pid, 20);
        CHECK_EQ(strlen(text), TAIL_MAX);
        CHECK_STR(text + TAIL_MAX - 6, "0 end\n");
        reap(pid);
}

/* Sixteen at once: four readers at a time, all are answered. */
static void many_at_once(void)
{
        enum { N = 16 };
        static Tail tails[N];
        JournalTail *t[N];
        pid_t pids[N];

        for (int i = 0; i < N; i++) {
                _cleanup_free_ char *script = xasprintf("echo words of %d >&2; exit 7", i);

                pids[i] = run_actor(NULL, script);
        }
        for (int i = 0; i < N; i++)
                CHECK_EQ(journal_tail(journal, pids[i], priority_of_stderr, 20, on_tail, &tails[i], &t[i]),
                                0);
        for (int i = 0; i < N; i++) {
                _cleanup_free_ char *expected = xasprintf("words of %d\n", i);

                turn_until(&tails[i].called);
                CHECK_STR(tails[i].text, expected);
                journal_tail_free(t[i]);
                reap(pids[i]);
        }
}

static char *output_of(const char *command)
{
        _cleanup_free_ char *text = calloc(1, 65536);
        FILE *f = popen(command, "re");

        CHECK(text && f);
        CHECK(fread(text, 1, 65535, f) < 65535);
        CHECK_EQ(pclose(f), 0);
        return TAKE_PTR(text);
}

/* One record, found by its fields and by the unit of a zombie whose scope is gone; -x explains it. */
static void crash_is_found_by_path_and_unit(void)
{
        static const char unit[] = "test-crash-1.scope";
        LifecycleRecord r = LIFECYCLE_RECORD(LIFECYCLE_CRASHED, "/shop/api");
        _cleanup_free_ char *by_unit = NULL, *by_path = NULL, *explained = NULL, *all = NULL;
        pid_t pid = run_actor(unit, "echo 'cannot go on' >&2; exit 7");

        r.actor_id = "a1";
        r.cause = "exit";
        r.exit_code = 7;
        r.runtime_usec = 3200000;
        r.memory_peak = 4096;
        r.cpu_usec = 99;
        r.stderr_tail = tail_of(pid, 20);
        r.object_pid = pid;
        r.unit = unit;
        lifecycle_log(journal, &r);
        free(output_of("journalctl --sync"));
        reap(pid);
        by_unit = output_of("journalctl -q -o cat -u test-crash-1.scope TRACTOR_EVENT=crashed");
        CHECK_STR(by_unit, "/shop/api: exited with code 7 after 3.2 s (cause exit); last words: cannot go "
                           "on\n");
        by_path = output_of("journalctl -q -o cat TRACTOR_PATH=/shop/api");
        CHECK_STR(by_path, by_unit);
        all = output_of("journalctl -q -o verbose TRACTOR_PATH=/shop/api");
        CHECK(strstr(all, "OBJECT_SYSTEMD_UNIT=test-crash-1.scope"));
        CHECK(strstr(all, "TRACTOR_STDERR=cannot go on\n"));
        CHECK(strstr(all, "TRACTOR_MEMORY_PEAK=4096\n"));
        free(output_of("cp \"$TRACTOR_TEST_SOURCE\"/units/tractor.catalog /usr/lib/systemd/catalog/ && "
                       "journalctl --update-catalog"));
        explained = output_of("journalctl -q -x TRACTOR_PATH=/shop/api");
        CHECK(strstr(explained, "Subject: /shop/api ended abnormally"));
        CHECK(strstr(explained, "journalctl -u test-crash-1.scope"));
}

/* What sd_journal_send() would wait for: 3 000 records while journald stands still. */
static void stopped_journald_stops_nobody(void)
{
        uint64_t start = now_usec(CLOCK_MONOTONIC), until;
        _cleanup_free_ char *count = NULL, *lost = NULL;
        unsigned long long n;

        free(output_of("systemctl kill --signal=STOP systemd-journald.service"));
        for (int i = 0; i < 3000; i++) {
                LifecycleRecord r = LIFECYCLE_RECORD(LIFECYCLE_STARTED, "/flood");

                lifecycle_log(journal, &r);
        }
        CHECK(now_usec(CLOCK_MONOTONIC) - start < 10 * USEC_PER_SEC);
        CHECK(journal_available(journal));
        CHECK(journal_dropped(journal) > 0);
        /* Nobody could read last words now: the answer is none, in time. */
        CHECK_STR(tail_of(getpid(), 20), "");
        free(output_of("systemctl kill --signal=CONT systemd-journald.service"));
        until = now_usec(CLOCK_MONOTONIC) + 20 * USEC_PER_SEC;
        while (sd_event_run(event, 500 * USEC_PER_MSEC) > 0)
                CHECK(now_usec(CLOCK_MONOTONIC) < until);
        free(output_of("journalctl --sync"));
        count = output_of("journalctl -q -o cat TRACTOR_PATH=/flood | wc -l");
        lost = output_of("journalctl -q -o cat TRACTOR_EVENT=records-dropped");
        n = strtoull(count, NULL, 10);
        fprintf(stderr, "   %llu arrived, %s", n, lost);
        CHECK_EQ(n + strtoull(lost, NULL, 10), 3000);
        CHECK_EQ(strtoull(lost, NULL, 10), journal_dropped(journal));
}

static void set_up(void)
{
        if (access("/run/systemd/journal/stdout", F_OK) < 0)
                skip("no journald here");
        priority_of_stderr = JOURNAL_PRIORITY_STDERR;
        CHECK(sd_event_new(&event) >= 0);
        CHECK_EQ(journal_new(event, &journal), 0);
        CHECK(journal_available(journal));
}

static void tear_down(void)
{
        journal = journal_free(journal);
        event = sd_event_unref(event);
}

#define CASE(f)                                                                                             \
        {                                                                                                   \
#f, f                                                                                       \
        }

TEST_MAIN(CASE(set_up), CASE(stderr_of_the_process), CASE(strangers_are_not_heard), CASE(the_scope_is_heard),
                CASE(prefixes_do_not_confuse), CASE(much_is_bounded), CASE(many_at_once),
                CASE(crash_is_found_by_path_and_unit), CASE(stopped_journald_stops_nobody), CASE(tear_down));

#undef main
int main(int argc, char **argv)
{
        if (argc > 1 && streq(argv[1], "--journal-tail"))
                return journal_tail_main(argc, argv);
        return test_program(argc, argv);
}
