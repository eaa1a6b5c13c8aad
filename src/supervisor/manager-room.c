/* SPDX-License-Identifier: Apache-2.0 */

/* TasksMax, at the moment a child is to be one task more. The kernel refuses a clone into a full cgroup, but not a process
 * that is moved there, which is what systemd does with a held child. So one that was moved is counted before it goes on,
 * and ended where it is one too many: no branch is fuller than it may be, whatever the backend.
 *
 * The kernel counts a task until it is reaped. Those that have ended, and those that were turned away, are as good as gone:
 * several may have been moved at once into room for some of them, and only as many are turned away as are too many. */

#include <errno.h>

#include "base/path.h"
#include "supervisor/manager.h"

static bool has_tasks_max(const Member *member)
{
        return (member->limits.set & (1U << LIMIT_TASKS_MAX)) &&
               member->limits.values[LIMIT_TASKS_MAX] != LIMIT_INFINITY;
}

/* Whose node it was, of a life that takes room and is not to stay. One without a unit has never been in its room. */
static const char *leaver_path(const Life *life)
{
        if (!life->unit)
                return NULL;
        if (life->obituary)
                return obituary_path(life->obituary);
        return life->turned_away && life->member ? life->member->node->path : NULL;
}

static uint64_t count_leavers(const Manager *m, const char *branch)
{
        uint64_t n = 0;

        MAP_FOREACH(const Life, life, &m->lives) {
                const char *path = leaver_path(life);

                n += path && node_path_covers(branch, path);
        }
        return n;
}

/* Files are read only where there is such a limit. */
static bool is_full(const Member *member, unsigned more, uint64_t *ret_max)
{
        const BackendVtable *backend = member_backend(member);
        uint64_t tasks;

        if (!has_tasks_max(member) || !backend->home_tasks ||
                        backend->home_tasks(member->home, &tasks, ret_max) < 0)
                return false;
        if (*ret_max == UINT64_MAX || tasks + more <= *ret_max)
                return false;
        return more > 0 || tasks > *ret_max + count_leavers(member->manager, member->node->path);
}

/* The nearest, the member itself included. */
static const Member *find_full(const Member *member, unsigned more, uint64_t *ret_max)
{
        for (const Node *n = member->node; n && node_member(n); n = n->parent)
                if (is_full(node_member(n), more, ret_max))
                        return node_member(n);
        return NULL;
}

static char *full_text(const Member *full, uint64_t max)
{
        return xasprintf("%s is full: its TasksMax is %llu", full->node->path, (unsigned long long) max);
}

int life_admit(Life *life, char **ret_why)
{
        uint64_t max;
        const Member *full = find_full(life->member, 0, &max);

        if (!full)
                return 0;
        life->turned_away = true;
        *ret_why = full_text(full, max);
        return -EAGAIN;
}

char *member_full_branch(const Member *member)
{
        uint64_t max;
        const Member *full = find_full(member, 1, &max);

        return full ? full_text(full, max) : NULL;
}
