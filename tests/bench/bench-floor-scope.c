/* SPDX-License-Identifier: Apache-2.0 */

/* What systemd itself needs to give a process a scope of its own: a bare loop of StartTransientUnit around a held
 * child, released when JobRemoved tells that the job is done. Prints one number of nanoseconds a line, from the fork
 * until the program's own main().
 *
 *      bench-floor-scope one N PROGRAM     one after the other; each is killed and reaped before the next
 *      bench-floor-scope many N PROGRAM    all calls pipelined: until the last main() */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <systemd/sd-bus.h>
#include <time.h>
#include <unistd.h>

#include "base/macro.h"

/* A system bus refuses more than 128 calls without their reply. */
#define CALLS_MAX 64

typedef struct Child {
        pid_t pid;
        int hold;
        char unit[64];
        bool released;
} Child;

static sd_bus *bus;
static Child *children;
static int n_children, n_released, n_replied;
static int inbox;

static uint64_t now_nsec(void)
{
        struct timespec ts;

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000000000U + (uint64_t) ts.tv_nsec;
}

static _Noreturn void die(const char *what, int r)
{
        fprintf(stderr, "bench-floor-scope: %s: %s\n", what, strerror(-r));
        exit(1);
}

static void open_inbox(void)
{
        struct sockaddr_un addr = { .sun_family = AF_UNIX };

        (void) snprintf(addr.sun_path, sizeof(addr.sun_path), "/tmp/bench-floor-%d", (int) getpid());
        inbox = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (inbox < 0 || bind(inbox, (struct sockaddr *) &addr, sizeof(addr)) < 0)
                die("bind", -errno);
        (void) setenv("BENCH_SOCKET", addr.sun_path, 1);
}

static uint64_t receive(void)
{
        char line[256] = "", *space;
        ssize_t n = recv(inbox, line, sizeof(line) - 1, 0);

        if (n <= 0)
                die("recv", -errno);
        space = strrchr(line, ' ');
        return space ? strtoull(space, NULL, 10) : 0;
}

static void fork_held(Child *c, const char *program)
{
        int pair[2];
        char go;

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
                die("socketpair", -errno);
        c->pid = fork();
        if (c->pid < 0)
                die("fork", -errno);
        if (c->pid == 0) {
                (void) close(pair[0]);
                if (read(pair[1], &go, 1) == 1)
                        (void) execl(program, program, "x", (char *) NULL);
                _exit(1);
        }
        (void) close(pair[1]);
        c->hold = pair[0];
}

static int on_job(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        const char *job;

        if (sd_bus_message_is_method_error(m, NULL) || sd_bus_message_read(m, "o", &job) < 0)
                die("StartTransientUnit", -sd_bus_message_get_errno(m));
        n_replied++;
        return 0;
}

static int on_job_removed(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        const char *job, *unit, *result;
        uint32_t id;

        if (sd_bus_message_read(m, "uoss", &id, &job, &unit, &result) < 0)
                return 0;
        for (int i = 0; i < n_children; i++) {
                Child *c = &children[i];

                if (c->released || !streq(c->unit, unit))
                        continue;
                if (!streq(result, "done"))
                        die(unit, -EIO);
                c->released = true;
                n_released++;
                (void) write(c->hold, "", 1);
                return 0;
        }
        return 0;
}

static void start_scope(Child *c)
{
        int r;

        r = sd_bus_call_method_async(bus, NULL, "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
                        "org.freedesktop.systemd1.Manager", "StartTransientUnit", on_job, NULL,
                        "ssa(sv)a(sa(sv))", c->unit, "fail", 2, "PIDs", "au", 1, (uint32_t) c->pid,
                        "CollectMode", "s", "inactive-or-failed", 0);
        if (r < 0)
                die("sd_bus_call_method_async", r);
}

static void turn(void)
{
        int r = sd_bus_process(bus, NULL);

        if (r == 0)
                r = sd_bus_wait(bus, UINT64_MAX);
        if (r < 0)
                die("bus", r);
}

static void until_released(int n)
{
        while (n_released < n)
                turn();
}

static void start(int i, const char *program)
{
        Child *c = &children[i];

        (void) snprintf(c->unit, sizeof(c->unit), "bench-%d-%d.scope", (int) getpid(), i);
        fork_held(c, program);
        n_children = i + 1;
        start_scope(c);
}

static void end(Child *c)
{
        (void) kill(c->pid, SIGKILL);
        if (waitpid(c->pid, NULL, 0) < 0)
                die("waitpid", -errno);
        (void) close(c->hold);
}

static void one_by_one(int n, const char *program)
{
        for (int i = 0; i < n; i++) {
                uint64_t begin = now_nsec();

                start(i, program);
                until_released(i + 1);
                printf("%llu\n", (unsigned long long) (receive() - begin));
                end(&children[i]);
        }
}

static void all_at_once(int n, const char *program)
{
        uint64_t begin = now_nsec(), last = 0;

        for (int i = 0; i < n; i++) {
                while (i - n_replied >= CALLS_MAX)
                        turn();
                start(i, program);
        }
        until_released(n);
        for (int i = 0; i < n; i++)
                last = MAX(last, receive());
        printf("%llu\n", (unsigned long long) (last - begin));
        for (int i = 0; i < n; i++)
                end(&children[i]);
}

int main(int argc, char **argv)
{
        int n = argc == 4 ? atoi(argv[2]) : 0, r;

        if (n <= 0)
                return 2;
        children = calloc((size_t) n, sizeof(Child));
        if (!children)
                die("calloc", -ENOMEM);
        open_inbox();
        r = sd_bus_open_system(&bus);
        if (r >= 0)
                r = sd_bus_match_signal(bus, NULL, "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
                                "org.freedesktop.systemd1.Manager", "JobRemoved", on_job_removed, NULL);
        if (r >= 0)
                r = sd_bus_call_method(bus, "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
                                "org.freedesktop.systemd1.Manager", "Subscribe", NULL, NULL, "");
        if (r < 0)
                die("no system bus", r);
        if (streq(argv[1], "one"))
                one_by_one(n, argv[3]);
        else
                all_at_once(n, argv[3]);
        (void) unlink(getenv("BENCH_SOCKET"));
        sd_bus_flush_close_unref(bus);
        free(children);
        return 0;
}
