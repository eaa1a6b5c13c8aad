/* SPDX-License-Identifier: Apache-2.0 */

/* Readiness and signs of life by datagrams: from processes already gone, from foreign users, with descriptors, in floods,
 * and garbage. */

#include <systemd/sd-daemon.h>

#include "ready-rig.h"

static ssize_t notify_raw(const char *path, const void *data, size_t n, const int *fds, size_t n_fds)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        CHECK(fd >= 0);
        (void) snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        if (connect(fd, (const struct sockaddr *) &address, sizeof(address)) < 0)
                return -errno;
        return send_fds(fd, data, n, fds, n_fds, 0);
}

static void notify(const char *text)
{
        CHECK_EQ(notify_raw(probe_notify_path(probe), text, strlen(text), NULL, 0), strlen(text));
}

static int say_ready(void)
{
        (void) setenv("NOTIFY_SOCKET", probe_notify_path(probe), 1);
        return sd_notify(0, "READY=1\nSTATUS=up") > 0 ? 0 : 1;
}

static void notify_by_one_already_gone(void)
{
        struct stat st;

        begin(READY_NOTIFY, NULL);
        CHECK_EQ(stat(probe_notify_path(probe), &st), 0);
        CHECK(S_ISSOCK(st.st_mode));
        CHECK_EQ(st.st_mode & 07777, 0600);
        start();
        reap(run_child(say_ready));
        turn_until(&seen.ready, 1);
        CHECK_STR(seen.text, "up");
        notify("READY=1");
        turn(20 * USEC_PER_MSEC);
        CHECK_EQ(seen.ready, 1);
        end();
}

static void notify_before_the_start_is_known(void)
{
        begin(READY_NOTIFY, NULL);
        notify("READY=1");
        turn(20 * USEC_PER_MSEC);
        CHECK_EQ(seen.ready, 0);
        start();
        turn_until(&seen.ready, 1);
        end();
}

static void notify_socket_goes_with_the_probe(void)
{
        char path[256];

        begin(READY_NOTIFY, NULL);
        (void) snprintf(path, sizeof(path), "%s", probe_notify_path(probe));
        end();
        CHECK_EQ(access(path, F_OK), -1);
        CHECK_EQ(errno, ENOENT);
        CHECK_EQ(notify_raw(path, "READY=1", 7, NULL, 0), -ENOENT);
}

static void leftover_socket_is_replaced(void)
{
        Probe *first;

        begin(READY_NOTIFY, NULL);
        first = TAKE_PTR(probe);
        CHECK_EQ(open_probe("0123456789abcdef"), 0);
        start();
        notify("READY=1");
        turn_until(&seen.ready, 1);
        end();
        probe_free(first);
}

static void only_the_kind_notify_is_made_ready_by_it(void)
{
        begin(READY_EXEC, NULL);
        CHECK(!probe_notify_path(probe));
        end();
        begin(READY_EXEC, NULL);
        spec->node.watchdog_usec = USEC_PER_SEC;
        probe = probe_free(probe);
        CHECK_EQ(open_probe("id"), 0);
        CHECK(probe_notify_path(probe));
        start();
        notify("WATCHDOG=1\nREADY=1\nSTOPPING=1\n");
        turn_until(&seen.stopping, 1);
        turn(20 * USEC_PER_MSEC);
        CHECK_EQ(seen.watchdog, 1);
        CHECK_EQ(seen.ready, 0);
        end();
}

static void foreign_file(char *path)
{
        (void) snprintf(path, 256, "%s", probe_notify_path(probe));
}

static int say_ready_as_nobody(void)
{
        char path[256];

        foreign_file(path);
        if (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0)
                return 1;
        return notify_raw(path, "READY=1", 7, NULL, 0) == -EACCES ? 0 : 2;
}

static void foreign_uid_is_refused(void)
{
        if (geteuid() != 0)
                skip("needs root to become another user");
        begin(READY_NOTIFY, NULL);
        start();
        reap(run_child(say_ready_as_nobody));
        turn(20 * USEC_PER_MSEC);
        CHECK_EQ(seen.ready, 0);
        end();
}

static int say_ready_as_the_actor(void)
{
        char path[256];

        foreign_file(path);
        if (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0)
                return 1;
        return notify_raw(path, "READY=1", 7, NULL, 0) == 7 ? 0 : 2;
}

/* Below a private directory (mkdtemp's 0700) the actor's user could not reach its socket: /run/tractor is public. */
static void actors_own_uid_is_heard(void)
{
        ProbeOptions options = { .event = event,
                .runtime_dir = dir,
                .actor_id = "other",
                .uid = 65534,
                .events = &events,
                .userdata = &seen };

        if (geteuid() != 0)
                skip("needs root to become another user");
        CHECK_EQ(chmod(dir, 0755), 0);
        begin(READY_NOTIFY, NULL);
        probe = probe_free(probe);
        options.spec = spec;
        CHECK_EQ(probe_new(&options, &probe), 0);
        start();
        reap(run_child(say_ready_as_the_actor));
        turn_until(&seen.ready, 1);
        end();
}

static unsigned count_fds(void)
{
        unsigned n = 0;

        for (int i = 0; i < 1024; i++)
                n += fcntl(i, F_GETFD) >= 0;
        return n;
}

static void descriptors_are_closed(void)
{
        int pipefd[2], fds[SCM_FDS_MAX];
        struct pollfd p;
        unsigned before;

        begin(READY_NOTIFY, NULL);
        start();
        CHECK_EQ(pipe2(pipefd, O_CLOEXEC), 0);
        for (size_t i = 0; i < ELEMENTSOF(fds); i++)
                fds[i] = pipefd[1];
        before = count_fds();
        CHECK_EQ(notify_raw(probe_notify_path(probe), "WATCHDOG=1", 10, fds, ELEMENTSOF(fds)), 10);
        pipefd[1] = safe_close(pipefd[1]);
        turn_until(&seen.watchdog, 1);
        CHECK_EQ(count_fds(), before - 1);
        p = (struct pollfd){ .fd = pipefd[0], .events = POLLIN };
        CHECK_EQ(poll(&p, 1, (int) (PATIENCE / USEC_PER_MSEC)), 1);
        CHECK(p.revents & POLLHUP);
        safe_close(pipefd[0]);
        end();
}

static int say_barrier(void)
{
        (void) setenv("NOTIFY_SOCKET", probe_notify_path(probe), 1);
        return sd_notify_barrier(0, PATIENCE) > 0 ? 0 : 1;
}

static void barrier_is_answered(void)
{
        pid_t pid;
        int status;

        begin(READY_NOTIFY, NULL);
        start();
        pid = run_child(say_barrier);
        while (waitpid(pid, &status, WNOHANG) == 0)
                turn(5 * USEC_PER_MSEC);
        CHECK_EQ(status, 0);
        end();
}

static void garbage_is_harmless(void)
{
        static const char nul[] = "READY=1\0READY=1\nWATCHDOG=1";
        _cleanup_free_ char *big = malloc(5000);

        CHECK(big);
        begin(READY_NOTIFY, NULL);
        start();
        memset(big, '\n', 5000);
        memcpy(big, "READY=1", 7);
        (void) notify_raw(probe_notify_path(probe), big, 5000, NULL, 0);
        (void) notify_raw(probe_notify_path(probe), nul, sizeof(nul) - 1, NULL, 0);
        (void) notify_raw(probe_notify_path(probe), "", 0, NULL, 0);
        notify("READY=11");
        notify("READY=1 ");
        notify("READY");
        notify("=\n\n\n=READY=1\nXREADY=1");
        notify("STATUS=\xc0\xaf");
        notify("\xff\xfe");
        turn(50 * USEC_PER_MSEC);
        CHECK_EQ(seen.ready + seen.watchdog + seen.status + seen.stopping, 0);
        /* Exactly the limit, and the terminator that some count: still believed. */
        memset(big, '\n', 4096);
        memcpy(big, "READY=1", 7);
        CHECK_EQ(notify_raw(probe_notify_path(probe), big, 4096, NULL, 0), 4096);
        CHECK_EQ(notify_raw(probe_notify_path(probe), "WATCHDOG=1", 11, NULL, 0), 11);
        turn_until(&seen.watchdog, 1);
        turn_until(&seen.ready, 1);
        end();
}

static void status_is_bounded_text(void)
{
        char text[700] = "STATUS=";

        begin(READY_NOTIFY, NULL);
        start();
        for (size_t i = 0; i < 200; i++) /* é: 2 bytes */
                memcpy(text + 7 + 1 + 2 * i, "\xc3\xa9", 2);
        text[7] = '\t';
        notify(text);
        turn_until(&seen.status, 1);
        CHECK_EQ(strlen(seen.text), 255); /* a half character is none */
        CHECK_EQ(seen.text[0], ' ');
        notify("STATUS=");
        turn_until(&seen.status, 2);
        CHECK_STR(seen.text, "");
        end();
}

static void call_back_may_free(void)
{
        begin(READY_NOTIFY, NULL);
        start();
        notify("STATUS=free me\nWATCHDOG=1\nSTOPPING=1\nREADY=1");
        turn_until(&seen.status, 1);
        CHECK(!probe);
        turn(20 * USEC_PER_MSEC);
        CHECK_EQ(seen.watchdog + seen.stopping + seen.ready, 0);
        end();
        begin(READY_NOTIFY, NULL);
        seen.free_on_ready = true;
        start();
        notify("READY=1");
        turn_until(&seen.ready, 1);
        CHECK(!probe);
        end();
}

static int flood(void)
{
        char path[256];

        foreign_file(path);
        for (;;)
                (void) notify_raw(path, "WATCHDOG=1", 10, NULL, 0);
        return 0;
}

/* A sender as fast as it can be: a bounded share of our time, and the others' events still come. */
static void flood_is_slowed(void)
{
        pid_t pid;
        int status;

        begin(READY_NOTIFY, NULL);
        start();
        pid = run_child(flood);
        turn(USEC_PER_SEC);
        CHECK_EQ(kill(pid, SIGKILL), 0);
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK(seen.watchdog > 20);
        CHECK(seen.watchdog < 1000);
        CHECK(seen.wakeups < 1200);
        end();
}

static void notify_path_must_fit(void)
{
        char id[128];
        ProbeOptions options = { .event = event,
                .runtime_dir = dir,
                .actor_id = id,
                .uid = geteuid(),
                .events = &events,
                .userdata = &seen };

        memset(id, 'x', sizeof(id) - 1);
        id[sizeof(id) - 1] = 0;
        begin(READY_NOTIFY, NULL);
        probe = probe_free(probe);
        options.spec = spec;
        CHECK_EQ(probe_new(&options, &probe), -ENAMETOOLONG);
        CHECK(!probe);
        end();
}

/* As /tmp/tractor-UID, which anyone may have made before us. */
static void squatted_directory_is_refused(void)
{
        _cleanup_free_ char *theirs = xasprintf("%s/theirs", dir), *below = xasprintf("%s/theirs/x", dir);
        ProbeOptions options = { .event = event,
                .runtime_dir = below,
                .actor_id = "0123456789abcdef",
                .uid = geteuid(),
                .events = &events,
                .userdata = &seen };

        if (geteuid() != 0)
                skip("needs root to give a directory to another user");
        CHECK(mkdir(theirs, 0755) >= 0 && chown(theirs, 65534, 65534) >= 0);
        begin(READY_NOTIFY, NULL);
        probe = probe_free(probe);
        options.spec = spec;
        CHECK_EQ(probe_new(&options, &probe), -EPERM);
        CHECK(!probe && access(below, F_OK) < 0);
        CHECK_EQ(rmdir(theirs), 0);
        end();
}

TEST_MAIN(CASE(set_up), CASE(notify_by_one_already_gone), CASE(notify_before_the_start_is_known),
                CASE(notify_socket_goes_with_the_probe), CASE(leftover_socket_is_replaced),
                CASE(only_the_kind_notify_is_made_ready_by_it), CASE(foreign_uid_is_refused),
                CASE(actors_own_uid_is_heard), CASE(descriptors_are_closed), CASE(barrier_is_answered),
                CASE(garbage_is_harmless), CASE(status_is_bounded_text), CASE(call_back_may_free),
                CASE(flood_is_slowed), CASE(notify_path_must_fit), CASE(squatted_directory_is_refused),
                CASE(tear_down));
