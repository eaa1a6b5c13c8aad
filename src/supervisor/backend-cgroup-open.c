/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/xattr.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "supervisor/backend-cgroup.h"

/* Either attribute: the first is root's alone to read. */
static bool is_delegated(const CgroupRoot *root, const char *path)
{
        char name[PATH_MAX], value[8];

        if (snprintf(name, sizeof(name), "/proc/self/fd/%d%s", root->fd, path) >= PATH_MAX)
                return false;
        return (getxattr(name, "trusted.delegate", value, sizeof(value)) == 1 && value[0] == '1') ||
               (getxattr(name, "user.delegate", value, sizeof(value)) == 1 && value[0] == '1');
}

/* Where processes step aside to, one leaf for all instances that share a cgroup: whoever is started by one that has
 * stepped aside is started there. */
#define LEAF_NAME "tractor.main"

/* The cgroup that was given to us, also where an earlier supervisor or instance has moved us out of it. */
static int starting_cgroup(const CgroupRoot *root, char **ret)
{
        _cleanup_free_ char *own = NULL;
        char *slash;
        int r;

        r = cgroup_of(root, 0, &own);
        if (r < 0)
                return r;
        slash = strrchr(own, '/');
        if (streq(slash + 1, LEAF_NAME))
                slash[slash == own] = 0;
        *ret = TAKE_PTR(own);
        return 0;
}

static bool only_ours(const CgroupRoot *root, const char *own, int keeper_pid)
{
        _cleanup_free_ char *procs = NULL;

        if (cgroup_read(root->fd, own, "cgroup.procs", &procs) < 0)
                return false;
        for (char *p = procs, *pid; (pid = strsep(&p, "\n"));)
                if (atoi(pid) != keeper_pid && atoi(pid) != getpid())
                        return false;
        return true;
}

/* Where processes sit beside children, the kernel turns no controllers on: they step aside into a leaf. What was
 * delegated to us holds nobody else's processes; elsewhere only our own two are moved. */
static int enable_at_start(const CgroupRoot *root, Backend *b, const char *own, const char *leaf,
                bool delegated, int keeper_pid)
{
        const char *list = b->controllers;
        int r;

        r = cgroup_enable(root->fd, own, list);
        if (r != -EBUSY || (!delegated && !only_ours(root, own, keeper_pid)))
                return r;
        r = cgroup_make(root->fd, leaf);
        if (r >= 0 || r == -EEXIST)
                r = cgroup_move_all(root->fd, own, leaf);
        if (r < 0)
                return r;
        return cgroup_enable(root->fd, own, list);
}

/* What is on in the end is what the instance can hand on to its nodes. */
static int setup_controllers(const CgroupRoot *root, Backend *b, const char *own, const char *leaf,
                bool delegated, int keeper_pid)
{
        _cleanup_free_ char *available = NULL, *enabled = NULL;
        const char *instance = b->cgroup;
        int r;

        r = cgroup_read(root->fd, own, "cgroup.controllers", &available);
        if (r < 0)
                return r;
        b->controllers = cgroup_known_controllers(available);
        if (!b->controllers)
                return -ENOMEM;
        if (enable_at_start(root, b, own, leaf, delegated, keeper_pid) >= 0)
                (void) cgroup_enable(root->fd, instance, b->controllers);
        r = cgroup_read(root->fd, instance, "cgroup.subtree_control", &enabled);
        if (r < 0)
                return r;
        free(b->controllers);
        b->controllers = cgroup_known_controllers(enabled);
        return b->controllers ? 0 : -ENOMEM;
}

static int end_instance(const CgroupRoot *root, const char *path)
{
        (void) cgroup_freeze(root->fd, path, false);
        (void) cgroup_kill(root->fd, path);
        (void) cgroup_wait_empty(root->fd, path, CGROUP_LEFTOVER_USEC);
        return cgroup_remove(root->fd, path);
}

/* An earlier run of this very instance may have left something alive: it is ended before ours begins. */
static int make_instance(const CgroupRoot *root, const char *path)
{
        int r;

        r = cgroup_make(root->fd, path);
        if (r == -EEXIST) {
                r = end_instance(root, path);
                if (r >= 0)
                        r = cgroup_make(root->fd, path);
        }
        if (r < 0)
                return r;
        /* The trial: a directory that can't be written to is of no use. */
        r = cgroup_write(root->fd, path, "cgroup.freeze", "0");
        if (r < 0)
                (void) cgroup_remove(root->fd, path);
        return r;
}

static char *instance_path(const char *own, const char *instance)
{
        return xasprintf("%s/tractor-%s", streq(own, "/") ? "" : own, instance);
}

int cgroup_instance_open(const CgroupRoot *root, const BackendOptions *options, Backend *b, char **ret_why)
{
        _cleanup_free_ char *own = NULL, *leaf = NULL, *path = NULL;
        const char *slash;
        bool delegated;
        int r;

        r = starting_cgroup(root, &own);
        if (r < 0) {
                *ret_why = xasprintf("our own cgroup lies outside of what is mounted");
                return r;
        }
        delegated = is_delegated(root, own);
        if (!delegated && sd_booted() > 0) {
                *ret_why = xasprintf("%s is systemd's and not delegated to us", own);
                return -EPERM;
        }
        slash = streq(own, "/") ? "" : own;
        path = instance_path(own, options->instance);
        leaf = xasprintf("%s/" LEAF_NAME, slash);
        if (!path || !leaf)
                return -ENOMEM;
        r = make_instance(root, path);
        if (r < 0) {
                *ret_why = xasprintf("can't make %s: %s", path, strerror(-r));
                return r;
        }
        b->cgroup = TAKE_PTR(path);
        r = setup_controllers(root, b, own, leaf, delegated, options->keeper_pid);
        if (r < 0)
                return r;
        *ret_why = xasprintf("cgroup v2 below %s is ours (%s)", own,
                        delegated ? "delegated" : "no systemd runs and it can be written to");
        return 0;
}

void cgroup_instance_end(const char *instance)
{
        _cleanup_free_ char *own = NULL, *path = NULL;
        CgroupRoot root;

        if (cgroup_root_open(&root) < 0)
                return;
        if (starting_cgroup(&root, &own) >= 0 && (path = instance_path(own, instance)) &&
                        cgroup_exists(root.fd, path))
                (void) end_instance(&root, path);
        cgroup_root_close(&root);
}
