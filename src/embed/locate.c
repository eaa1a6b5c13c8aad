/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/directory.h"
#include "base/io.h"
#include "base/path.h"
#include "embed/locate.h"

/* A socket between its bind() and its listen() refuses connections like a dead one; only one that had this long
 * is taken for dead while its process lives. */
#define STALE_AFTER_SECONDS 10
#define EMBEDDED_MAX 256

typedef struct Embedded {
        char *path;
        int fd;
} Embedded;

typedef struct EmbeddedList {
        Embedded items[EMBEDDED_MAX];
        size_t n;
} EmbeddedList;

void surroundings_get(Surroundings *ret)
{
        const char *dir = getenv("XDG_RUNTIME_DIR"), *sock = secure_getenv("TRACTOR_SOCKET");

        *ret = (Surroundings){
                .uid = getuid(),
                .runtime_dir = dir && *dir == '/' ? dir : NULL,
                .socket = sock && *sock ? sock : NULL,
                .root = "",
        };
}

int connect_to(const char *path)
{
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        /* Connecting blocks while the listener's queue is full. */
        struct timeval limit = { .tv_sec = 5 };
        _cleanup_close_ int fd = -EBADF;

        if (strlen(path) >= sizeof(sa.sun_path))
                return -ENAMETOOLONG;
        strcpy(sa.sun_path, path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0)
                return -errno;
        while (connect(fd, (struct sockaddr *) &sa, sizeof(sa)) < 0)
                if (errno != EINTR)
                        return errno == EAGAIN ? -ETIMEDOUT : -errno;
        return TAKE_FD(fd);
}

/* The directory that holds `run`: its owner is what keeps others out. */
static char *run_parent(const Surroundings *s)
{
        if (s->uid == 0)
                return xasprintf("%s/run/tractor", s->root);
        if (s->runtime_dir)
                return xasprintf("%s/tractor", s->runtime_dir);
        return xasprintf("%s/tmp/tractor-%u", s->root, (unsigned) s->uid);
}

char *locate_run_dir(const Surroundings *s)
{
        _cleanup_free_ char *parent = run_parent(s);

        return parent ? xasprintf("%s/run", parent) : NULL;
}

/* A directory of ours that nobody else can write to. */
static int check_dir(const Surroundings *s, const char *path)
{
        struct stat st;

        if (lstat(path, &st) < 0)
                return -errno;
        if (!S_ISDIR(st.st_mode))
                return -ENOTDIR;
        return st.st_uid != s->uid || (st.st_mode & 022) != 0 ? -EPERM : 0;
}

static int check_run_dir(const Surroundings *s, const char *parent, const char *dir)
{
        int r = check_dir(s, parent);

        return r < 0 ? r : check_dir(s, dir);
}

int locate_make_run_dir(const Surroundings *s, char **ret)
{
        _cleanup_free_ char *parent = run_parent(s), *dir = locate_run_dir(s);
        int r;

        if (!parent || !dir)
                return -ENOMEM;
        /* The system's own directory must stay open to those who look for the service's socket. */
        r = directory_open_trusted(parent, s->uid == 0 ? 0755 : 0700);
        if (r < 0)
                return r;
        (void) safe_close(r);
        if (mkdir(dir, 0700) < 0 && errno != EEXIST)
                return -errno;
        r = check_run_dir(s, parent, dir);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(dir);
        return 0;
}

int locate_published_path(const Surroundings *s, const char *name, char **ret)
{
        _cleanup_free_ char *dir = NULL, *path = NULL;
        int r = locate_make_run_dir(s, &dir);

        if (r < 0)
                return r;
        path = xasprintf("%s/%s-%d.sock", dir, node_name_is_valid(name) ? name : "tree", (int) getpid());
        if (!path)
                return -ENOMEM;
        if (strlen(path) >= sizeof(((struct sockaddr_un *) 0)->sun_path))
                return -ENAMETOOLONG;
        if (unlink(path) < 0 && errno != ENOENT) /* an earlier process of our number */
                return -errno;
        *ret = TAKE_PTR(path);
        return 0;
}

bool locate_parse_name(const char *file, size_t *ret_n, pid_t *ret_pid)
{
        const char *end = strrchr(file, '.'), *dash;
        char *stop;
        long pid;

        if (!end || !streq(end, ".sock"))
                return false;
        dash = memrchr(file, '-', (size_t) (end - file));
        if (!dash || dash == file || dash[1] < '1' || dash[1] > '9')
                return false;
        pid = strtol(dash + 1, &stop, 10);
        if (stop != end || pid > INT32_MAX)
                return false;
        *ret_n = (size_t) (dash - file);
        *ret_pid = (pid_t) pid;
        return true;
}

static void remove_stale(const char *path, pid_t pid)
{
        struct stat st;

        if (lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode))
                return;
        if ((kill(pid, 0) < 0 && errno == ESRCH) || st.st_mtime + STALE_AFTER_SECONDS < time(NULL))
                (void) unlink(path);
}

static void embedded_done(EmbeddedList *list)
{
        for (size_t i = 0; i < list->n; i++) {
                free(list->items[i].path);
                (void) safe_close(list->items[i].fd);
        }
        list->n = 0;
}

/* `name`: NAME or NAME-PID; NULL: any. */
static bool name_matches(const char *file, size_t n, const char *name)
{
        return !name || (strlen(name) == n && strncmp(file, name, n) == 0) ||
               (strlen(name) == strlen(file) - strlen(".sock") && strncmp(file, name, strlen(name)) == 0);
}

static int embedded_try(EmbeddedList *list, const char *dir, const char *file, const char *name)
{
        _cleanup_free_ char *path = NULL;
        pid_t pid;
        size_t n;
        int fd;

        if (!locate_parse_name(file, &n, &pid) || !name_matches(file, n, name))
                return 0;
        path = xasprintf("%s/%s", dir, file);
        if (!path)
                return -ENOMEM;
        fd = connect_to(path);
        if (fd == -ECONNREFUSED)
                remove_stale(path, pid);
        if (fd < 0 || list->n == EMBEDDED_MAX) {
                (void) safe_close(fd);
                return 0;
        }
        list->items[list->n++] = (Embedded){ .path = TAKE_PTR(path), .fd = fd };
        return 0;
}

static int embedded_find(const Surroundings *s, const char *name, EmbeddedList *list)
{
        _cleanup_free_ char *parent = run_parent(s), *dir = locate_run_dir(s);
        struct dirent *e;
        int r = 0;
        DIR *d;

        if (!parent || !dir)
                return -ENOMEM;
        /* None there, or nothing there that could be believed. */
        if (check_run_dir(s, parent, dir) < 0)
                return 0;
        d = opendir(dir);
        if (!d)
                return 0;
        while (r >= 0 && (e = readdir(d)))
                r = embedded_try(list, dir, e->d_name, name);
        (void) closedir(d);
        return r;
}

static char *list_names(const EmbeddedList *list)
{
        char *text = NULL;
        size_t n = 0;
        FILE *f = open_memstream(&text, &n);

        if (!f)
                return NULL;
        for (size_t i = 0; i < list->n; i++) {
                const char *file = strrchr(list->items[i].path, '/') + 1;

                fprintf(f, "%s%.*s", i > 0 ? ", " : "", (int) (strlen(file) - strlen(".sock")), file);
        }
        if (fclose(f) != 0) {
                free(text);
                return NULL;
        }
        return text;
}

/* 0, -ENOENT for none, -ENOTUNIQ for several. */
static int embedded_connect(
                const Surroundings *s, const char *name, int *ret_fd, char **ret_path, char **reterr)
{
        _cleanup_(embedded_done) EmbeddedList list = { .n = 0 };
        _cleanup_free_ char *names = NULL;
        int r = embedded_find(s, name, &list);

        if (r < 0)
                return r;
        if (list.n == 0)
                return -ENOENT;
        if (list.n > 1) {
                names = list_names(&list);
                *reterr = xasprintf("several supervisors run here: %s; choose one with '--run NAME'",
                                strna(names));
                return -ENOTUNIQ;
        }
        *ret_fd = TAKE_FD(list.items[0].fd);
        *ret_path = TAKE_PTR(list.items[0].path);
        return 0;
}

/* `start`: how to start one that listens there. */
static char *describe_refusal(const char *path, const char *start, int r)
{
        switch (r) {
        case -EACCES:
        case -EPERM:
                start = "try it as root or as the user the supervisor runs as";
                break;
        case -ENAMETOOLONG:
                start = "name a shorter path";
                break;
        }
        return xasprintf("no supervisor to talk to at %s: %s; %s", path, strerror(-r), start);
}

static int connect_path(const char *path, const char *start, int *ret_fd, char **ret_path, char **reterr)
{
        _cleanup_free_ char *copy = strdup(path);
        int fd;

        if (!copy)
                return -ENOMEM;
        fd = connect_to(path);
        if (fd < 0) {
                *reterr = describe_refusal(path, start, fd);
                return fd;
        }
        *ret_fd = fd;
        *ret_path = TAKE_PTR(copy);
        return 0;
}

static int connect_named(const char *path, int *ret_fd, char **ret_path, char **reterr)
{
        return connect_path(path, "start one with 'tractorctl run TREE --socket PATH'", ret_fd, ret_path,
                        reterr);
}

/* Who did not type the path may not know where it comes from. */
static int connect_environment(const Surroundings *s, int *ret_fd, char **ret_path, char **reterr)
{
        return connect_path(s->socket,
                        "start one with 'tractorctl run TREE --socket PATH', or unset TRACTOR_SOCKET",
                        ret_fd, ret_path, reterr);
}

static char *service_socket(const Surroundings *s, bool user)
{
        if (user)
                return xasprintf("%s/tractor/control.sock", s->runtime_dir);
        return xasprintf("%s/run/tractor/control.sock", s->root);
}

static int connect_service(const Surroundings *s, bool user, int *ret_fd, char **ret_path, char **reterr)
{
        _cleanup_free_ char *path = NULL;

        if (user && !s->runtime_dir) {
                *reterr = strdup("no supervisor to talk to: XDG_RUNTIME_DIR is not set, so there is no "
                                 "user's service; name a socket with '--socket PATH', or log in");
                return -ENOENT;
        }
        path = service_socket(s, user);
        if (!path)
                return -ENOMEM;
        return connect_path(path,
                        user ? "start it with 'systemctl --user start tractord.socket'"
                             : "start it with 'systemctl start tractord.socket'",
                        ret_fd, ret_path, reterr);
}

static bool nobody_there(int r)
{
        return r == -ENOENT || r == -ECONNREFUSED;
}

/* Nothing was named: the first that answers. */
static int connect_any(const Surroundings *s, int *ret_fd, char **ret_path, char **reterr)
{
        int r = embedded_connect(s, NULL, ret_fd, ret_path, reterr);

        if (r != -ENOENT)
                return r;
        if (s->runtime_dir) {
                r = connect_service(s, true, ret_fd, ret_path, reterr);
                if (!nobody_there(r))
                        return r;
                free(TAKE_PTR(*reterr));
        }
        r = connect_service(s, false, ret_fd, ret_path, reterr);
        if (!nobody_there(r))
                return r;
        free(TAKE_PTR(*reterr));
        *reterr = strdup("no supervisor to talk to; start one with 'tractorctl run TREE' or "
                         "'systemctl start tractord.socket'");
        return r;
}

int locate_connect(const LocateChoice *o, const Surroundings *s, int *ret_fd, char **ret_path, char **reterr)
{
        int r;

        *reterr = NULL;
        if (o->socket)
                return connect_named(o->socket, ret_fd, ret_path, reterr);
        if (o->run) {
                r = embedded_connect(s, o->run, ret_fd, ret_path, reterr);
                if (r == -ENOENT)
                        *reterr = xasprintf("no supervisor to talk to: none of this user's is named '%s'; "
                                            "start one with 'tractorctl run TREE'",
                                        o->run);
                return r;
        }
        if (o->user || o->system)
                return connect_service(s, o->user, ret_fd, ret_path, reterr);
        if (s->socket)
                return connect_environment(s, ret_fd, ret_path, reterr);
        return connect_any(s, ret_fd, ret_path, reterr);
}
