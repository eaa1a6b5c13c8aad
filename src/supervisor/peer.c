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

static int copy_groups(const gid_t *groups, size_t n, Peer *p)
{
        int own = groups ? 0 : getgroups(0, NULL);

        if (own < 0)
                return -errno;
        if (!groups)
                n = (size_t) own;
        p->groups = calloc(n + 1, sizeof(gid_t));
        if (!p->groups)
                return -ENOMEM;
        if (groups) {
                memcpy(p->groups, groups, n * sizeof(gid_t));
        } else {
                own = getgroups(own, p->groups);
                if (own < 0)
                        return -errno;
                n = (size_t) own;
        }
        p->n_groups = n;
        return 0;
}

int peer_of_actor(const char *path, const char *id, uid_t uid, gid_t gid, const gid_t *groups,
                size_t n_groups, Peer *ret)
{
        Peer p = { .kind = PEER_ACTOR, .uid = uid, .gid = gid, .path = strdup(path), .id = strdup(id) };
        int r = p.path && p.id ? copy_groups(groups, n_groups, &p) : -ENOMEM;

        if (r < 0) {
                peer_done(&p);
                return r;
        }
        *ret = p;
        return 0;
}

void peer_done(Peer *p)
{
        free(p->groups);
        free(p->path);
        free(p->id);
        *p = (Peer){ .uid = (uid_t) -1, .gid = (gid_t) -1 };
}

const char *peer_name(const Peer *p, char buf[PEER_NAME_SIZE])
{
        if (p->kind == PEER_ACTOR)
                return p->path;
        (void) snprintf(buf, PEER_NAME_SIZE, "@client/%d", (int) p->pid);
        return buf;
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
