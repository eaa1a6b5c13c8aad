/* SPDX-License-Identifier: Apache-2.0 */

/* The files of access.d: found, judged by who could have written them, read, and their names looked up. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "tractor-config.h"
#include "supervisor/access-private.h"

#define FILE_BYTES_MAX (256U * 1024)
#define FILES_MAX 256U

/* In the administrator's directory, or in the vendor's for which that has no file of the same name. */
typedef struct RuleFile {
        char *name;
        int dir; /* weak: a descriptor of Folders */
} RuleFile;

typedef struct Folders {
        int fds[2]; /* the first wins */
        RuleFile *files;
        size_t n, cap;
} Folders;

static void folders_done(Folders *f)
{
        for (size_t i = 0; i < f->n; i++)
                free(f->files[i].name);
        free(f->files);
        close_many(f->fds, ELEMENTSOF(f->fds));
}

/* --- trust --- */

/* Whoever can write to it makes the rules. */
static const char *distrust(int fd, mode_t type)
{
        struct stat st;

        if (fstat(fd, &st) < 0)
                return strerror(errno);
        if ((st.st_mode & S_IFMT) != type)
                return type == S_IFREG ? "is not a regular file" : "is not a directory";
        if (st.st_uid != 0 && st.st_uid != geteuid())
                return "belongs neither to root nor to the supervisor's own user";
        if (st.st_mode & 022)
                return "can be written to by others than its owner";
        return NULL;
}

/* No link on the way, and nothing outside the directory that was judged. */
static int open_in(int dir, const char *name)
{
        struct open_how how = { .flags = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW,
                .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS };
        int fd = (int) syscall(SYS_openat2, dir, name, &how, sizeof(how));

        return fd < 0 ? -errno : fd;
}

static int add_problem(Access *a, const char *file, const char *format, const char *what)
{
        _cleanup_free_ char *pointer = xasprintf("/%s", file);

        return pointer ? config_problem_add(&a->problems, pointer, false, format, what) : -ENOMEM;
}

/* --- files --- */

static int read_text(Access *a, int fd, const char *name, char **ret, size_t *ret_n)
{
        _cleanup_free_ char *text = malloc(FILE_BYTES_MAX + 1);
        size_t n = 0;
        ssize_t k;

        if (!text)
                return -ENOMEM;
        do {
                k = read(fd, text + n, FILE_BYTES_MAX + 1 - n);
                if (k < 0)
                        return add_problem(a, name, "can't be read: %s", strerror(errno));
                n += (size_t) k;
        } while (k > 0 && n <= FILE_BYTES_MAX);
        if (n > FILE_BYTES_MAX)
                return add_problem(a, name, "is longer than 256 KiB%s", "");
        *ret = TAKE_PTR(text);
        *ret_n = n;
        return 1;
}

static int parse_text(Access *a, const char *name, const char *text, size_t n)
{
        _cleanup_json_ Json *list = NULL;
        JsonError error = { 0 };
        unsigned line, column;
        char what[128];
        int r;

        r = json_parse(text, n, NULL, &list, &error);
        if (r == -EBADMSG) {
                json_position(text, error.offset, &line, &column);
                (void) snprintf(what, sizeof(what), "line %u, column %u: %s", line, column, error.message);
                return add_problem(a, name, "%s", what);
        }
        return r < 0 ? r : access_rules_parse(list, name, a->known, &a->next, &a->problems);
}

static int read_one(Access *a, const RuleFile *f)
{
        _cleanup_close_ int fd = open_in(f->dir, f->name);
        _cleanup_free_ char *text = NULL;
        const char *why;
        size_t n = 0;
        int r;

        if (fd < 0)
                return add_problem(a, f->name, "can't be opened: %s",
                                fd == -ELOOP ? "it is a symbolic link" : strerror(-fd));
        why = distrust(fd, S_IFREG);
        if (why)
                return add_problem(a, f->name, "%s", why);
        r = read_text(a, fd, f->name, &text, &n);
        return r <= 0 ? r : parse_text(a, f->name, text, n);
}

/* --- folders --- */

static bool is_rule_file(const char *name)
{
        size_t n = strlen(name);

        return name[0] != '.' && n > 5 && streq(name + n - 5, ".json");
}

static int add_file(Folders *f, const char *name, int dir)
{
        char *copy;

        for (size_t i = 0; i < f->n; i++)
                if (streq(f->files[i].name, name))
                        return 0;
        if (f->n >= FILES_MAX)
                return -E2BIG;
        copy = strdup(name);
        if (!copy || GROW(f->files, f->cap, f->n + 1) < 0) {
                free(copy);
                return -ENOMEM;
        }
        f->files[f->n++] = (RuleFile){ copy, dir };
        return 0;
}

static int scan_folder(Access *a, Folders *f, const char *path, int *ret_fd)
{
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
        const char *why;
        DIR *dir;

        if (fd < 0)
                return errno == ENOENT ? 0
                                       : config_problem_add(&a->problems, "", false, "%s: %s", path,
                                                         strerror(errno));
        *ret_fd = fd;
        why = distrust(fd, S_IFDIR);
        if (why)
                return config_problem_add(&a->problems, "", false, "%s: %s", path, why);
        fd = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        dir = fd < 0 ? NULL : fdopendir(fd);
        if (!dir) {
                safe_close(fd);
                return -errno;
        }
        for (struct dirent *e; r >= 0 && (e = readdir(dir));)
                if (is_rule_file(e->d_name))
                        r = add_file(f, e->d_name, *ret_fd);
        closedir(dir);
        if (r == -E2BIG)
                return config_problem_add(
                                &a->problems, "", false, "%s: more than %u files", path, FILES_MAX);
        return r;
}

static int by_name(const void *x, const void *y)
{
        return strcmp(((const RuleFile *) x)->name, ((const RuleFile *) y)->name);
}

/* The rules about a machine's supervisor are its administrator's, those about a user's or an embedded one its user's. */
static int scan(Access *a, Folders *f)
{
        const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
        _cleanup_free_ char *own = NULL;
        int r;

        if (streq(a->instance, "sys")) {
                r = scan_folder(a, f, TRACTOR_SYSCONFDIR "/access.d", &f->fds[0]);
                if (r >= 0)
                        r = scan_folder(a, f, TRACTOR_DATADIR "/access.d", &f->fds[1]);
        } else {
                own = config && config[0] == '/' ? xasprintf("%s/tractor/access.d", config)
                                                 : xasprintf("%s/.config/tractor/access.d", home ?: "");
                r = own ? scan_folder(a, f, own, &f->fds[0]) : -ENOMEM;
        }
        if (r >= 0 && f->n > 0)
                qsort(f->files, f->n, sizeof(RuleFile), by_name);
        return r;
}

/* --- names --- */

static void look_up_next(Access *a);

static void finish(Access *a, int r)
{
        if (r < 0)
                (void) config_problem_add(&a->problems, "", false, "%s", strerror(-r));
        access_rules_done(&a->rules);
        a->state = r < 0 || a->problems.n > 0 ? ACCESS_WRONG : ACCESS_READ;
        if (a->state == ACCESS_WRONG) {
                access_rules_done(&a->next);
                log_error("access.d: %zu problem%s: none but root and the supervisor's own user are served",
                                a->problems.n, a->problems.n == 1 ? "" : "s");
                for (size_t i = 0; i < a->problems.n; i++)
                        log_error("access.d: %s: %s", a->problems.items[i].pointer,
                                        a->problems.items[i].message);
                return;
        }
        a->rules = a->next;
        a->next = (AccessRules){ 0 };
        if (a->rules.n > 0)
                log_info("access.d: %zu rules", a->rules.n);
}

static void on_resolved(
                int r, const Resolved *resolved, const Unresolved *problems, size_t n, void *userdata)
{
        Access *a = userdata;
        AccessName *name = &a->next.items[a->rule].names[a->name];

        if (r >= 0) {
                name->id = name->is_group ? resolved->gid : resolved->uid;
                name->resolved = true;
        } else {
                r = config_problem_add(&a->problems, name->pointer, false, "%s",
                                n > 0 ? problems[0].why : strerror(-r));
        }
        a->resolve = resolve_free(a->resolve);
        a->name++;
        if (r == -ENOMEM)
                finish(a, r);
        else
                look_up_next(a);
}

/* One at a time, from where the last one stands. */
static AccessName *next_name(Access *a)
{
        for (; a->rule < a->next.n; a->rule++, a->name = 0)
                for (; a->name < a->next.items[a->rule].n_names; a->name++)
                        if (!a->next.items[a->rule].names[a->name].resolved)
                                return &a->next.items[a->rule].names[a->name];
        return NULL;
}

static void look_up_next(Access *a)
{
        AccessName *name = next_name(a);
        int r;

        if (!name) {
                finish(a, 0);
                return;
        }
        r = resolve_user(a->event, name->is_group ? NULL : name->text, name->is_group ? name->text : NULL,
                        NULL, on_resolved, a, &a->resolve);
        if (r < 0)
                finish(a, r);
}

void access_reload(Access *a)
{
        Folders f = { .fds = { -EBADF, -EBADF } };
        int r;

        a->resolve = resolve_free(a->resolve);
        access_rules_done(&a->next);
        config_problems_done(&a->problems);
        a->problems = (ConfigProblems){ 0 };
        a->rule = a->name = 0;
        r = scan(a, &f);
        for (size_t i = 0; r >= 0 && i < f.n; i++)
                r = read_one(a, &f.files[i]);
        folders_done(&f);
        if (r < 0)
                finish(a, r);
        else
                look_up_next(a);
}
