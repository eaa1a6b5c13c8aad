/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/map.h"
#include "base/usec.h"
#include "supervisor/helper.h"
#include "supervisor/output.h"

#define LOOK_INTERVAL (250 * USEC_PER_MSEC)
/* A writer that could pass the limit twice before the next look is looked at sooner. */
#define LOOK_INTERVAL_FAST (5 * USEC_PER_MSEC)
#define NAME_LENGTH_MAX 240
#define SYMLINKS_MAX 16

typedef struct OutputFile {
        OutputDir *dir;    /* weak */
        char *actor;       /* the key in dir->files */
        char *path, *name; /* name: the end of path, weak */
        uint64_t size;     /* at the last look */
        sd_event_source *watch, *timer, *cutter;
} OutputFile;

struct OutputDir {
        sd_event *event;
        char *path;
        int fd;
        Map files;
};

/* --- the folder --- */

/* One step on the way: a directory, made if missing, or a symlink that only root or we can have put there. Returns a
 * descriptor, or 0 with the link's target and what follows in *rest. */
static int step_into(int at, const char *name, char **rest)
{
        _cleanup_close_ int fd = openat(at, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        char target[PATH_MAX];
        struct stat st;
        ssize_t k;
        char *p;

        if (fd < 0 && errno == ENOENT) {
                if (mkdirat(at, name, 0700) < 0 && errno != EEXIST)
                        return -errno;
                fd = openat(at, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        }
        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (S_ISDIR(st.st_mode))
                return TAKE_FD(fd);
        if (!S_ISLNK(st.st_mode))
                return -ENOTDIR;
        if (st.st_uid != 0 && st.st_uid != geteuid())
                return -ELOOP;
        k = readlinkat(fd, "", target, sizeof(target) - 1);
        if (k < 0)
                return -errno;
        p = xasprintf("%.*s/%s", (int) k, target, *rest);
        if (!p)
                return -ENOMEM;
        free(*rest);
        *rest = p;
        return 0;
}

/* Opens the directory `path` step by step, making what is missing. */
static int open_directory(const char *path)
{
        _cleanup_close_ int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        _cleanup_free_ char *rest = strdup(path);
        int links = 0;

        if (!rest)
                return -ENOMEM;
        while (fd >= 0) {
                _cleanup_free_ char *name = NULL, *after = NULL;
                char *p = rest + strspn(rest, "/");
                size_t n = strcspn(p, "/");
                int next;

                if (n == 0)
                        break;
                name = strndup(p, n);
                after = strdup(p + n);
                if (!name || !after)
                        return -ENOMEM;
                next = step_into(fd, name, &after);
                if (next < 0)
                        return next;
                free(rest);
                rest = TAKE_PTR(after);
                if (next == 0 && ++links > SYMLINKS_MAX)
                        return -ELOOP;
                if (next == 0 && rest[0] != '/')
                        continue;
                safe_close(fd);
                fd = next > 0 ? next : open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        }
        if (fd < 0)
                return -errno;
        return TAKE_FD(fd);
}

static char *state_directory(void)
{
        const char *state = getenv("STATE_DIRECTORY"), *xdg = getenv("XDG_STATE_HOME"),
                   *home = getenv("HOME");

        if (state && state[0] == '/')
                return xasprintf("%.*s", (int) strcspn(state, ":"), state);
        if (geteuid() == 0)
                return xasprintf("/var/lib/tractor");
        if (xdg && xdg[0] == '/')
                return xasprintf("%s/tractor", xdg);
        if (home && home[0] == '/')
                return xasprintf("%s/.local/state/tractor", home);
        return NULL;
}

/* The last component is ours alone, whoever made it. */
static int open_instance(const char *path)
{
        _cleanup_close_ int fd = open_directory(path), readable = -EBADF;
        struct stat st;

        if (fd < 0)
                return fd;
        readable = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (readable < 0 || fstat(readable, &st) < 0)
                return -errno;
        if (st.st_uid != geteuid())
                return -EPERM;
        if (fchmod(readable, 0700) < 0)
                return -errno;
        return TAKE_FD(readable);
}

int output_dir_new(sd_event *event, const char *instance, OutputDir **ret)
{
        _cleanup_free_ char *state = state_directory();
        OutputDir *d;
        int r;

        if (!state)
                return -ENOTDIR;
        d = calloc(1, sizeof(OutputDir));
        if (!d)
                return -ENOMEM;
        d->event = sd_event_ref(event);
        d->fd = -EBADF;
        d->path = xasprintf("%s/%s", state, instance);
        r = d->path ? open_instance(d->path) : -ENOMEM;
        if (r < 0) {
                output_dir_free(d, false);
                return r;
        }
        d->fd = r;
        *ret = d;
        return 0;
}

/* --- one file --- */

static OutputFile *file_free(OutputFile *f)
{
        if (!f)
                return NULL;
        if (f->dir)
                (void) map_remove(&f->dir->files, f->actor);
        f->watch = sd_event_source_disable_unref(f->watch);
        f->timer = sd_event_source_disable_unref(f->timer);
        f->cutter = child_abandon(f->cutter); /* it ends by itself */
        free(f->actor);
        free(f->path);
        free(f);
        return NULL;
}
DEFINE_CLEANUP(OutputFile *, file_free);

static int on_growth(sd_event_source *s, const struct inotify_event *event, void *userdata);

static void listen_for_growth(OutputFile *f)
{
        int r;

        if (f->watch)
                return;
        r = sd_event_add_inotify(
                        f->dir->event, &f->watch, f->path, IN_MODIFY | IN_DONT_FOLLOW, on_growth, f);
        if (r < 0 && r != -ENOENT) /* deleted by someone: the next generation makes it anew */
                log_debug("%s: can't be watched: %s", f->path, strerror(-r));
}

static void look_in(OutputFile *f, uint64_t usec)
{
        (void) sd_event_source_set_time_relative(f->timer, usec);
        (void) sd_event_source_set_enabled(f->timer, SD_EVENT_ONESHOT);
}

/* Not a call more than what may be made between fork and exec. */
static _Noreturn void cut_in_child(int fd, off_t cut)
{
        int r;

        (void) prctl(PR_SET_NAME, "tractor-cut");
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (fd > 0)
                (void) close_range(0, (unsigned) fd - 1, 0);
        (void) close_range((unsigned) fd + 1, ~0U, 0);
        r = fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, cut);
        if (r < 0)
                r = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, cut);
        _exit(r < 0 ? 1 : 0);
}

static int on_cut(sd_event_source *s, const siginfo_t *si, void *userdata)
{
        OutputFile *f = userdata;

        if (!f) {
                (void) sd_event_source_set_floating(s, false);
                return 0;
        }
        f->cutter = sd_event_source_unref(f->cutter);
        /* Where neither way exists, trying again soon would be all we ever did. */
        look_in(f, si->si_code == CLD_EXITED && si->si_status == 0 ? LOOK_INTERVAL_FAST : 60 * USEC_PER_SEC);
        return 0;
}

/* Both ways of giving blocks back may write to the disk and wait for it, hence a process of its own. */
static int start_cutter(OutputFile *f, int fd, off_t cut)
{
        pid_t pid = fork();
        int r;

        if (pid < 0)
                return -errno;
        if (pid == 0)
                cut_in_child(fd, cut);
        r = child_watch(f->dir->event, pid, on_cut, f, &f->cutter);
        if (r < 0)
                (void) waitpid(pid, NULL, 0);
        return r;
}

/* Cuts at whole blocks before the newest OUTPUT_FILE_KEEP bytes. 1: a cutter runs. */
static int cut_file(OutputFile *f, const struct stat *st)
{
        _cleanup_close_ int fd = -EBADF;
        off_t block = MAX((off_t) st->st_blksize, (off_t) 4096), cut;
        int r;

        cut = (st->st_size - (off_t) OUTPUT_FILE_KEEP) / block * block;
        if (st->st_blocks * 512 <= (off_t) OUTPUT_FILE_MAX || cut <= 0)
                return 0;
        fd = openat(f->dir->fd, f->name, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        r = start_cutter(f, fd, cut);
        return r < 0 ? r : 1;
}

/* A look: cut if needed; else listen again, first, so that nothing written meanwhile is missed. */
static int on_look(sd_event_source *s, uint64_t usec, void *userdata)
{
        OutputFile *f = userdata;
        struct stat st;
        uint64_t grown;
        int r;

        if (f->cutter)
                return 0;
        listen_for_growth(f);
        if (fstatat(f->dir->fd, f->name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
                return 0;
        grown = (uint64_t) st.st_size > f->size ? (uint64_t) st.st_size - f->size : 0;
        f->size = (uint64_t) st.st_size;
        r = cut_file(f, &st);
        if (r < 0)
                log_debug("%s: can't be cut: %s", f->path, strerror(-r));
        if (r != 0 || grown > OUTPUT_FILE_MAX / 8) {
                f->watch = sd_event_source_disable_unref(f->watch);
                if (r <= 0)
                        look_in(f, r < 0 ? LOOK_INTERVAL : LOOK_INTERVAL_FAST);
        }
        return 0;
}

static int on_growth(sd_event_source *s, const struct inotify_event *event, void *userdata)
{
        OutputFile *f = userdata;

        f->watch = sd_event_source_disable_unref(f->watch);
        look_in(f, LOOK_INTERVAL);
        return 0;
}

/* "/shop/api" → "shop+api.log"; '+' is in no name. What is too long for a file name keeps its end, where names differ,
 * after a hash of the whole. */
static char *file_name(const char *actor_path)
{
        const char *s = actor_path[0] == '/' ? actor_path + 1 : actor_path;
        uint64_t hash = 0xcbf29ce484222325ULL;
        char *name;

        for (const char *p = s; *p; p++)
                hash = (hash ^ (unsigned char) *p) * 0x100000001b3ULL;
        if (strlen(s) <= NAME_LENGTH_MAX)
                name = xasprintf("%s.log", s);
        else
                name = xasprintf("%016llx+%s.log", (unsigned long long) hash,
                                s + strlen(s) - (NAME_LENGTH_MAX - 17));
        for (char *p = name; p && *p; p++)
                if (*p == '/')
                        *p = '+';
        return name;
}

/* Ours, or the actor's to be: nothing else may stand under the name. */
static int make_file(const OutputDir *d, const char *name, uid_t uid, gid_t gid)
{
        _cleanup_close_ int fd = openat(d->fd, name,
                        O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
                        0640);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) || st.st_nlink != 1)
                return -EEXIST;
        if (fchmod(fd, 0640) < 0)
                return -errno;
        if ((st.st_uid != uid || st.st_gid != gid) && fchown(fd, uid, gid) < 0)
                return -errno;
        return 0;
}

static int file_new(OutputDir *d, const char *actor_path, OutputFile **ret)
{
        _cleanup_(file_freep) OutputFile *f = calloc(1, sizeof(OutputFile));
        _cleanup_free_ char *name = file_name(actor_path);
        int r;

        if (!f || !name)
                return -ENOMEM;
        f->actor = strdup(actor_path);
        f->path = xasprintf("%s/%s", d->path, name);
        if (!f->actor || !f->path)
                return -ENOMEM;
        f->name = f->path + strlen(f->path) - strlen(name);
        r = sd_event_add_time(d->event, &f->timer, CLOCK_MONOTONIC, 0, 0, on_look, f);
        if (r < 0)
                return r;
        r = map_put(&d->files, f->actor, f);
        if (r < 0)
                return r;
        f->dir = d;
        *ret = TAKE_PTR(f);
        return 0;
}

int output_dir_open(OutputDir *d, const char *actor_path, uid_t uid, gid_t gid, char **ret_path)
{
        OutputFile *f = map_get(&d->files, actor_path);
        bool fresh = !f;
        char *path;
        int r;

        if (!f) {
                r = file_new(d, actor_path, &f);
                if (r < 0)
                        return r;
        }
        r = make_file(d, f->name, uid, gid);
        path = r < 0 ? NULL : strdup(f->path);
        if (!path) {
                if (fresh)
                        file_free(f);
                return r < 0 ? r : -ENOMEM;
        }
        if (!f->cutter)
                look_in(f, 0);
        *ret_path = path;
        return 0;
}

static void remove_if_empty(const OutputDir *d, const char *name)
{
        struct stat st;

        if (fstatat(d->fd, name, &st, AT_SYMLINK_NOFOLLOW) >= 0 && S_ISREG(st.st_mode) && st.st_size == 0)
                (void) unlinkat(d->fd, name, 0);
}

/* What was written since the last look; nobody will look again. */
static void cut_last(OutputFile *f)
{
        struct stat st;

        if (!f->cutter && fstatat(f->dir->fd, f->name, &st, AT_SYMLINK_NOFOLLOW) >= 0 && S_ISREG(st.st_mode))
                (void) cut_file(f, &st);
}

void output_dir_close(OutputDir *d, const char *actor_path)
{
        OutputFile *f = map_get(&d->files, actor_path);

        if (!f)
                return;
        remove_if_empty(d, f->name);
        cut_last(f);
        file_free(f);
}

static void clean_folder(OutputDir *d, bool all)
{
        int fd = d->fd < 0 ? -EBADF : openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *entry;

        if (!dir) {
                safe_close(fd);
                return;
        }
        while ((entry = readdir(dir)))
                if (all && entry->d_type == DT_REG)
                        (void) unlinkat(d->fd, entry->d_name, 0);
                else
                        remove_if_empty(d, entry->d_name);
        (void) closedir(dir);
        /* Kept while it holds something. */
        (void) rmdir(d->path);
}

OutputDir *output_dir_free(OutputDir *d, bool remove)
{
        size_t pos = 0;
        OutputFile *f;

        if (!d)
                return NULL;
        while ((f = map_next(&d->files, &pos))) {
                file_free(f);
                pos = 0;
        }
        map_clear(&d->files);
        clean_folder(d, remove);
        safe_close(d->fd);
        sd_event_unref(d->event);
        free(d->path);
        free(d);
        return NULL;
}
