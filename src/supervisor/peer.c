/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "supervisor/peer.h"

static int groups_of_socket(int fd, gid_t **ret, size_t *ret_n)
{
        _cleanup_free_ gid_t *groups = calloc(PEER_GROUPS_MAX, sizeof(gid_t));
        socklen_t size = PEER_GROUPS_MAX * sizeof(gid_t);
        gid_t *fitting;

        if (!groups)
                return -ENOMEM;
        if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) < 0)
                return errno == ERANGE ? -E2BIG : -errno;
        if (size == 0)
                return 0;
        fitting = realloc(groups, size);
        if (!fitting)
                return -ENOMEM;
        groups = NULL;
        *ret = fitting;
        *ret_n = size / sizeof(gid_t);
        return 0;
}

int peer_of_socket(int fd, Peer *ret)
{
        struct ucred cred;
        socklen_t size = sizeof(cred);
        Peer p = { .kind = PEER_CLIENT };
        int r;

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0)
                return -errno;
        r = groups_of_socket(fd, &p.groups, &p.n_groups);
        if (r < 0)
                return r;
        p.uid = cred.uid;
        p.gid = cred.gid;
        p.pid = cred.pid;
        *ret = p;
        return 0;
}

static int own_groups(gid_t **ret, size_t *ret_n)
{
        int n = getgroups(0, NULL);
        gid_t *groups;

        if (n < 0)
                return -errno;
        groups = calloc((size_t) n + 1, sizeof(gid_t));
        if (!groups)
                return -ENOMEM;
        n = getgroups(n, groups);
        if (n < 0) {
                free(groups);
                return -errno;
        }
        *ret = groups;
        *ret_n = (size_t) n;
        return 0;
}

static int groups_of_spec(const TreeSpec *spec, gid_t **ret, size_t *ret_n)
{
        if (!spec->user && !spec->has_groups)
                return own_groups(ret, ret_n);
        *ret = calloc(spec->n_gids + 1, sizeof(gid_t));
        if (!*ret)
                return -ENOMEM;
        if (spec->n_gids > 0)
                memcpy(*ret, spec->gids, spec->n_gids * sizeof(gid_t));
        *ret_n = spec->n_gids;
        return 0;
}

int peer_of_actor(const char *path, const char *id, TreeSpec *spec, Peer *ret)
{
        Peer p = { .kind = PEER_ACTOR,
                .uid = spec->user ? spec->uid : geteuid(),
                .gid = spec->user || spec->group ? spec->gid : getegid(),
                .path = strdup(path),
                .id = strdup(id),
                .spec = tree_spec_ref(spec) };
        int r = p.path && p.id ? groups_of_spec(spec, &p.groups, &p.n_groups) : -ENOMEM;

        if (r < 0) {
                peer_done(&p);
                return r;
        }
        *ret = p;
        return 0;
}

int peer_copy(const Peer *p, Peer *ret)
{
        Peer copy = { .kind = p->kind,
                .uid = p->uid,
                .gid = p->gid,
                .pid = p->pid,
                .groups = calloc(p->n_groups + 1, sizeof(gid_t)),
                .n_groups = p->n_groups,
                .spec = p->spec ? tree_spec_ref(p->spec) : NULL };
        int r = copy.groups ? free_and_strdup(&copy.path, p->path) : -ENOMEM;

        if (r >= 0)
                r = free_and_strdup(&copy.id, p->id);
        if (r < 0) {
                peer_done(&copy);
                return r;
        }
        if (p->n_groups > 0)
                memcpy(copy.groups, p->groups, p->n_groups * sizeof(gid_t));
        *ret = copy;
        return 0;
}

void peer_done(Peer *p)
{
        free(p->groups);
        free(p->path);
        free(p->id);
        tree_spec_unref(p->spec);
        *p = (Peer){ .uid = (uid_t) -1, .gid = (gid_t) -1 };
}

const char *peer_name(const Peer *p, char buf[PEER_NAME_SIZE])
{
        if (p->kind == PEER_ACTOR)
                return p->path;
        (void) snprintf(buf, PEER_NAME_SIZE, "@client/%d", (int) p->pid);
        return buf;
}

uid_t peer_guest(const Peer *p)
{
        return p->uid == geteuid() ? 0 : p->uid;
}

bool peer_has_group(const Peer *p, gid_t gid)
{
        if (p->gid == gid)
                return true;
        for (size_t i = 0; i < p->n_groups; i++)
                if (p->groups[i] == gid)
                        return true;
        return false;
}
