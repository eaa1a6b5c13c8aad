/* SPDX-License-Identifier: Apache-2.0 */
#include "ready-rig.h"

char dir[] = "/tmp/tractor-test-XXXXXX";
sd_event *event;
Probe *probe;
TreeSpec *spec;

Seen seen;

static void on_ready(void *userdata)
{
        CHECK(userdata == &seen);
        seen.ready++;
        if (seen.free_on_ready)
                probe = probe_free(probe);
}

static void on_watchdog(void *userdata)
{
        seen.watchdog++;
}

static void on_status(const char *text, void *userdata)
{
        seen.status++;
        (void) snprintf(seen.text, sizeof(seen.text), "%s", text);
        if (streq(text, "free me"))
                probe = probe_free(probe);
}

static void on_stopping(void *userdata)
{
        seen.stopping++;
}

static int on_command(char *const *argv, void *userdata)
{
        seen.commands++;
        if (streq(argv[0], "refused"))
                return -EAGAIN;
        CHECK_EQ(seen.running, 0);
        seen.running++;
        return 0;
}

static void on_kill_command(void *userdata)
{
        CHECK_EQ(seen.running, 1);
        seen.killed++;
}

const ProbeEvents events = { on_ready, on_watchdog, on_status, on_stopping, on_command, on_kill_command };

int open_probe(const char *id)
{
        ProbeOptions options = { .event = event,
                .spec = spec,
                .runtime_dir = dir,
                .actor_id = id,
                .uid = geteuid(),
                .events = &events,
                .userdata = &seen };

        return probe_new(&options, &probe);
}

void begin(ReadyKind kind, const char *path)
{
        seen = (Seen){ 0 };
        spec = calloc(1, sizeof(TreeSpec));
        CHECK(spec);
        spec->refs = 1;
        spec->ready = kind;
        spec->ready_path = path ? xasprintf("%s/%s", dir, path) : NULL;
        CHECK_EQ(open_probe("0123456789abcdef"), 0);
}

void start(void)
{
        CHECK_EQ(probe_start(probe, now_usec(CLOCK_REALTIME)), 0);
        CHECK_EQ(seen.ready, 0);
}

void end(void)
{
        probe = probe_free(probe);
        spec = tree_spec_unref(spec);
}

void turn(uint64_t usec)
{
        uint64_t until = now_usec(CLOCK_MONOTONIC) + usec, now;

        do {
                now = now_usec(CLOCK_MONOTONIC);
                seen.wakeups += sd_event_run(event, now < until ? until - now : 0) > 0;
        } while (now < until);
}

void turn_until(const unsigned *counter, unsigned n)
{
        uint64_t until = now_usec(CLOCK_MONOTONIC) + PATIENCE;

        while (*counter < n) {
                CHECK(now_usec(CLOCK_MONOTONIC) < until);
                seen.wakeups += sd_event_run(event, USEC_PER_SEC) > 0;
        }
}

pid_t run_child(int (*f)(void))
{
        pid_t pid = fork();

        CHECK(pid >= 0);
        if (pid == 0)
                _exit(f());
        return pid;
}

void reap(pid_t pid)
{
        int status;

        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK_EQ(status, 0);
}

void set_up(void)
{
        CHECK(mkdtemp(dir));
        CHECK(sd_event_new(&event) >= 0);
}

void tear_down(void)
{
        char path[256];

        event = sd_event_unref(event);
        (void) snprintf(path, sizeof(path), "%s/notify", dir);
        CHECK(rmdir(path) == 0 || errno == ENOENT); /* made with the first notify socket */
        CHECK_EQ(rmdir(dir), 0);
}
