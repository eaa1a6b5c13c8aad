/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/directory.h"
#include "base/io.h"
#include "base/path.h"
#include "tractorctl/run.h"

#define SOCKET_PATH_MAX (sizeof(((struct sockaddr_un *) NULL)->sun_path) - 1)

/* tractord may stand elsewhere than we. */
static char *absolute(const char *path)
{
        char cwd[PATH_MAX];

        if (*path == '/')
                return strdup(path);
        return getcwd(cwd, sizeof(cwd)) ? xasprintf("%s/%s", cwd, path) : NULL;
}

/* Binding is the only question that brings up every reason why tractord could not listen there. */
static int try_bind(const Context *c, const char *path)
{
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        strcpy(sa.sun_path, path);
        if (fd >= 0 && bind(fd, (struct sockaddr *) &sa, sizeof(sa)) >= 0 && unlink(path) >= 0)
                return 0;
        return fail(c, errno == EACCES || errno == EPERM ? CTL_DENIED : CTL_FAILED,
                        "can't listen at %s: %s; name another path with '--socket PATH'", path,
                        strerror(errno));
}

/* A dead socket in the way is removed; anything else there is not ours to touch. */
static int clear_way(const Context *c, const char *path)
{
        struct stat st;
        int fd, r;

        if (strlen(path) > SOCKET_PATH_MAX)
                return fail(c, CTL_USAGE,
                                "the path of the socket is over %zu bytes long: %s; name a shorter one",
                                SOCKET_PATH_MAX, path);
        r = directory_check_parent(path);
        if (r == -EPERM)
                return fail(c, CTL_DENIED,
                                "%s: others could put something else in its place: a directory on the way "
                                "is neither "
                                "yours nor root's, or open to all; name another path with '--socket PATH'",
                                path);
        if (r < 0)
                return fail(c, CTL_FAILED, "can't listen at %s: %s; name another path with '--socket PATH'",
                                path, strerror(-r));
        if (lstat(path, &st) < 0)
                return try_bind(c, path);
        if (!S_ISSOCK(st.st_mode))
                return fail(c, CTL_FAILED,
                                "%s is there already and is no socket; name another path with '--socket "
                                "PATH'",
                                path);
        fd = connect_to(path);
        if (fd != -ECONNREFUSED) {
                (void) safe_close(fd);
                return fail(c, CTL_FAILED,
                                "somebody listens at %s already; see 'tractorctl --socket %s status'", path,
                                path);
        }
        if (unlink(path) < 0)
                return fail(c, CTL_FAILED, "%s: %s; name another path with '--socket PATH'", path,
                                strerror(errno));
        return try_bind(c, path);
}

int run_choose_sockets(Run *run)
{
        const Context *c = run->c;
        int r;

        if (c->o->socket) {
                run->listen = absolute(c->o->socket);
                r = run->listen ? clear_way(c, run->listen) : fail_errno(c, -ENOMEM);
                if (r != 0)
                        return r;
        }
        r = locate_published_path(&c->surroundings, json_get_string(run->tree, "name", ""), &run->published);
        if (r >= 0)
                return 0;
        if (!run->listen)
                return fail(c, CTL_FAILED, "can't publish a socket: %s; name one with '--socket PATH'",
                                strerror(-r));
        if (!c->o->quiet)
                fprintf(stderr, "tractorctl: other terminals won't find this supervisor by themselves: %s\n",
                                strerror(-r));
        return 0;
}
