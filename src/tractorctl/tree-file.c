/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "tractorctl/tree-file.h"

static int read_all(int fd, char **ret, size_t *ret_n)
{
        _cleanup_free_ char *buf = malloc(TREE_FILE_MAX + 1);
        size_t n = 0;

        if (!buf)
                return -ENOMEM;
        for (;;) {
                ssize_t k = read(fd, buf + n, TREE_FILE_MAX + 1 - n);

                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return -errno;
                if (k == 0)
                        break;
                n += (size_t) k;
                if (n > TREE_FILE_MAX)
                        return -EFBIG;
        }
        *ret = TAKE_PTR(buf);
        *ret_n = n;
        return 0;
}

/* The directory that relative programs of the file are meant to start in. */
static int directory_of(const char *path, char **ret)
{
        char resolved[PATH_MAX];

        if (streq(path, "-")) {
                if (!getcwd(resolved, sizeof(resolved)))
                        return -errno;
                *ret = strdup(resolved);
        } else {
                if (!realpath(path, resolved))
                        return -errno;
                *ret = strdup(dirname(resolved));
        }
        return *ret ? 0 : -ENOMEM;
}

/* Recursion is bounded by the parser's depth. */
int tree_set_cwd(Json *tree, const char *cwd)
{
        Json *children = json_get(tree, "children");
        int r;

        if (json_type(tree) != JSON_OBJECT)
                return 0;
        if (json_has(tree, "exec") && !json_has(tree, "cwd")) {
                Json *v;

                r = json_pack(&v, "s", cwd);
                if (r < 0)
                        return r;
                r = json_set(tree, "cwd", v);
                if (r < 0)
                        return r;
        }
        if (json_type(children) != JSON_ARRAY)
                return 0;
        for (size_t i = 0; i < json_length(children); i++) {
                r = tree_set_cwd(json_item(children, i), cwd);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int parse(const char *path, const char *text, size_t n, Json **ret, char **reterr)
{
        JsonError e = { 0 };
        unsigned line, column;
        int r = json_parse(text, n, NULL, ret, &e);

        if (r != -EBADMSG)
                return r;
        json_position(text, e.offset, &line, &column);
        *reterr = xasprintf("%s:%u:%u: %s", path, line, column, e.message);
        return *reterr ? -EBADMSG : -ENOMEM;
}

static int read_and_parse(const char *path, Json **ret, char **reterr)
{
        _cleanup_free_ char *text = NULL, *cwd = NULL;
        _cleanup_json_ Json *tree = NULL;
        _cleanup_close_ int fd = -EBADF;
        size_t n = 0;
        int r;

        fd = streq(path, "-") ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
                              : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        if (fd < 0)
                return -errno;
        r = read_all(fd, &text, &n);
        if (r < 0)
                return r;
        r = directory_of(path, &cwd);
        if (r < 0)
                return r;
        r = parse(path, text, n, &tree, reterr);
        if (r < 0)
                return r;
        r = tree_set_cwd(tree, cwd);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(tree);
        return 0;
}

int tree_file_read(const char *path, Json **ret, char **reterr)
{
        int r;

        *reterr = NULL;
        r = read_and_parse(path, ret, reterr);
        if (r == -EFBIG)
                *reterr = xasprintf("%s: over %u bytes long; give its parts to 'tractorctl load' one by one",
                                path, TREE_FILE_MAX);
        else if (r < 0 && r != -EBADMSG)
                *reterr = xasprintf("%s: can't read it: %s; give the path of a tree file, see 'man 5 "
                                    "tractor-tree'",
                                path, strerror(-r));
        return r;
}
