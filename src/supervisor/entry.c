/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/io.h"
#include "supervisor/config-parse.h"
#include "supervisor/entry.h"

#define NAME_BYTES_MAX 128U
/* As JSON. One string of an environment may have 128 KiB. */
#define ARGS_MAX (96U * 1024)

static const char *const keys[] = { "entry", "argv0", "argv", "args" };

bool entry_is_key(const char *key)
{
        for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                if (streq(keys[i], key))
                        return true;
        return false;
}

void entry_done(Entry *e)
{
        free(e->name);
        free(e->args);
        strv_free(e->argv);
        safe_close(e->fd);
        *e = (Entry){ .fd = -EBADF };
}

static bool refuse(Request *q, const char *what)
{
        call_fail(q->call, ERROR_INVALID_PARAMS, NULL, "%s", what);
        return false;
}

static bool is_name(const char *s)
{
        size_t n = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.");

        return n > 0 && n <= NAME_BYTES_MAX && s[n] == 0 && *s != '.' && !(*s >= '0' && *s <= '9');
}

/* NULL: no text that a program can be given. */
static const char *argument(const Json *v)
{
        const char *s = json_string(v);

        return s && strlen(s) == json_string_length(v) && strlen(s) <= CONFIG_ARG_MAX ? s : NULL;
}

/* It need not be open for reading: an O_PATH descriptor of /proc/self/exe will do. */
static bool take_descriptor(Request *q, Entry *e)
{
        struct stat st;

        if (!q->session || session_take_fds(q->session, &e->fd, 1) < 0) {
                e->fd = -EBADF;
                return refuse(q, "entry: no descriptor came with the request; send one of the program to "
                                 "run, such as "
                                 "/proc/self/exe opened with O_PATH, and say so by \"$\":{\"fds\":1}");
        }
        if (fstat(e->fd, &st) < 0 || !S_ISREG(st.st_mode) || !(st.st_mode & 0111))
                return refuse(q, "entry: the descriptor is none of an executable regular file");
        if (fd_check_reserve(e->fd) < 0) {
                call_fail(q->call, ERROR_LIMIT_EXCEEDED, NULL, "the supervisor is out of descriptors");
                return false;
        }
        return true;
}

static char *path_of(int fd)
{
        char link[sizeof("/proc/self/fd/") + 12], path[PATH_MAX];
        ssize_t n;

        (void) snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        n = readlink(link, path, sizeof(path) - 1);
        return n > 0 ? strndup(path, (size_t) n) : strdup("entry");
}

static bool take_argv(Request *q, Entry *e)
{
        const Json *v = json_get(q->params, "argv"), *given = json_get(q->params, "argv0");
        _cleanup_free_ char *first = NULL;
        int r;

        if (!request_check(q, "argv", JSON_ARRAY, false) || !request_check(q, "argv0", JSON_STRING, false))
                return false;
        if (given && (!argument(given) || !*argument(given)))
                return refuse(q, "argv0: must be a text of 1 to 131071 bytes without a NUL");
        first = given ? strdup(argument(given)) : path_of(e->fd);
        r = first ? strv_append(&e->argv, first) : -ENOMEM;
        for (size_t i = 0; r >= 0 && i < json_length(v); i++) {
                const char *s = argument(json_item(v, i));

                if (!s)
                        return refuse(q, "argv: must hold strings of at most 131071 bytes without a NUL");
                r = strv_append(&e->argv, s);
        }
        if (r < 0)
                request_fail_memory(q);
        return r >= 0;
}

static bool take_args(Request *q, Entry *e)
{
        Json *v = json_get(q->params, "args");
        const char *text = "null";
        size_t n = strlen("null");

        if (!json_has(q->params, "args"))
                return true;
        if (v)
                text = json_print(v, &n);
        if (text && n > ARGS_MAX)
                return refuse(q, "args: at most 96 KiB as JSON; send more than that by a call to the actor");
        e->args = text ? strdup(text) : NULL;
        if (!e->args)
                request_fail_memory(q);
        return e->args != NULL;
}

static bool take(Request *q, Entry *e)
{
        const char *name = json_get_string(q->params, "entry", NULL);

        if (!name || !is_name(name))
                return refuse(q, "entry: must be a name: 1 to 128 of A-Z a-z 0-9 _ . and the first no digit "
                                 "and no dot");
        if (json_has(q->params, "exec"))
                return refuse(q, "a child has either `exec` (a program by its path) or `entry` (one by a "
                                 "descriptor)");
        e->name = strdup(name);
        if (!e->name) {
                request_fail_memory(q);
                return false;
        }
        return take_descriptor(q, e) && take_argv(q, e) && take_args(q, e);
}

bool entry_of_request(Request *q, Entry *ret)
{
        *ret = (Entry){ .fd = -EBADF };
        if (!json_has(q->params, "entry")) {
                for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                        if (json_has(q->params, keys[i])) {
                                call_fail(q->call, ERROR_INVALID_PARAMS, NULL,
                                                "%s: belongs to `entry`; the arguments of `exec` are its "
                                                "own items",
                                                keys[i]);
                                return false;
                        }
                return true;
        }
        if (take(q, ret))
                return true;
        entry_done(ret);
        return false;
}

void entry_give(Entry *e, TreeSpec *spec)
{
        strv_free(spec->exec);
        spec->exec = TAKE_PTR(e->argv);
        spec->entry = TAKE_PTR(e->name);
        spec->entry_args = TAKE_PTR(e->args);
        spec->entry_fd = TAKE_FD(e->fd);
}
