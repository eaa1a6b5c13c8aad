/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

#include "scope-rig.h"

extern char **environ;

int run(char *const *argv, char *ret, size_t size)
{
        posix_spawn_file_actions_t actions;
        int out[2], status, pid;
        size_t n = 0;
        ssize_t k;

        CHECK_EQ(pipe2(out, O_CLOEXEC), 0);
        CHECK_EQ(posix_spawn_file_actions_init(&actions), 0);
        CHECK_EQ(posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO), 0);
        CHECK_EQ(posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ), 0);
        posix_spawn_file_actions_destroy(&actions);
        close(out[1]);
        while ((k = read(out[0], ret + n, size - n - 1)) > 0)
                n += (size_t) k;
        ret[n] = 0;
        close(out[0]);
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        return status;
}

/* One property, without a newline. */
const char *property(const char *unit, const char *name)
{
        static char buf[1024];
        char option[64];

        snprintf(option, sizeof(option), "-p%s", name);
        CHECK_EQ(RUN(buf, (char *) "systemctl", MODE, (char *) "show", (char *) "--value", option,
                                 (char *) unit),
                        0);
        buf[strcspn(buf, "\n")] = 0;
        return buf;
}

/* All units of the instance but its slice itself. */
size_t count_units(void)
{
        char buf[65536];
        size_t n = 0;

        CHECK_EQ(RUN(buf, (char *) "systemctl", MODE, (char *) "list-units", (char *) "--all",
                                 (char *) "--no-legend", (char *) "--plain",
                                 (char *) "tractor-" INSTANCE "-*"),
                        0);
        for (char *p = buf; (p = strchr(p, '\n')); p++)
                n++;
        return n;
}

/* A command of systemd's that goes on while our loop turns. */
int begin(const char *a, const char *b, const char *c)
{
        char *argv[] = { (char *) a, (char *) b, (char *) c, MODE, NULL };
        int pid;

        CHECK_EQ(posix_spawnp(&pid, a, NULL, NULL, argv, environ), 0);
        return pid;
}

bool has_ended(int pid)
{
        return waitpid(pid, NULL, WNOHANG) == pid;
}

void check_in_scope(Actor *a)
{
        const char *unit = a->fixture->vtable->home_unit(a->home);
        _cleanup_free_ char *cgroup = NULL;

        CHECK_EQ(cgroup_of(&a->fixture->root, a->pid, &cgroup), 0);
        CHECK_STR(cgroup, a->fixture->vtable->home_cgroup(a->home));
        CHECK_STR(strrchr(cgroup, '/') + 1, unit);
}

void actor_end(Actor *a)
{
        const BackendVtable *v = a->fixture->vtable;

        CHECK_EQ(v->home_kill(a->home), 0);
        await_exit(a);
        CHECK(!v->home_populated(a->home));
        actor_reap(a);
        v->home_leave(a->home);
}
