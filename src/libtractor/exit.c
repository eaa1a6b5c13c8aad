/* SPDX-License-Identifier: Apache-2.0 */
/* What a program does at its end, and what `ps` shows until then. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <fcntl.h>
#include <sys/prctl.h>

#include "base/io.h"
#include "libtractor/runtime.h"

typedef struct AtExit {
        ListNode node;
        void (*fn)(void *userdata);
        void *userdata;
} AtExit;

_public_ int tractor_at_exit(void (*fn)(void *userdata), void *userdata)
{
        AtExit *e;

        if (!runtime || runtime_is_foreign())
                return task_missing();
        e = malloc(sizeof(*e));
        if (!e)
                return -ENOMEM;
        *e = (AtExit){ .fn = fn, .userdata = userdata };
        list_append(&runtime->at_exit, &e->node);
        return 0;
}

void run_at_exit(Runtime *rt)
{
        tractor_scope *s = tractor_shield(TRACTOR_FOREVER);

        while (!list_is_empty(&rt->at_exit)) {
                AtExit *e = LIST_ENTRY(rt->at_exit.prev, AtExit, node);

                list_unlink(&e->node);
                e->fn(e->userdata);
                free(e);
        }
        (void) tractor_scope_close(s, 0);
}

/* The room that the kernel shows as the command line: where the arguments lie, which is what /proc/self/stat says. */
static int find_title(Runtime *rt)
{
        _cleanup_free_ char *stat = NULL;
        const char *p;
        uintptr_t from = 0, to = 0;
        int r = read_file_at(AT_FDCWD, "/proc/self/stat", &stat);

        if (r < 0)
                return r;
        p = strrchr(stat, ')');
        for (unsigned field = 2; p && field < 48; field++)
                p = strchr(p + 1, ' ');
        if (!p || sscanf(p, " %" SCNuPTR " %" SCNuPTR, &from, &to) != 2 || to <= from + 1)
                return -EOPNOTSUPP;
        rt->old_title = malloc(to - from);
        if (!rt->old_title)
                return -ENOMEM;
        rt->title = (char *) from;
        rt->title_size = to - from;
        memcpy(rt->old_title, rt->title, rt->title_size);
        return 0;
}

_public_ int tractor_set_title(const char *format, ...)
{
        char text[256];
        const char *slash;
        va_list ap;
        int r = 0;

        if (!runtime || runtime_is_foreign())
                return task_missing();
        va_start(ap, format);
        (void) vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        /* The short name is 15 bytes: the last part says most. */
        slash = strrchr(text, '/');
        (void) prctl(PR_SET_NAME, slash && slash[1] ? slash + 1 : text);
        if (!runtime->title)
                r = find_title(runtime);
        if (r < 0)
                return r;
        memset(runtime->title, 0, runtime->title_size);
        (void) snprintf(runtime->title, runtime->title_size, "%s", text);
        return 0;
}

void title_restore(Runtime *rt)
{
        if (rt->title)
                memcpy(rt->title, rt->old_title, rt->title_size);
        free(rt->old_title);
}
