/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "supervisor/backend-private.h"
#include "supervisor/cgroup.h"

static const char *const kind_names[_BACKEND_MAX] = {
        [BACKEND_SCOPE] = "scope",
        [BACKEND_CGROUP] = "cgroup",
        [BACKEND_PROCESS] = "process",
};

static int (*const openers[_BACKEND_MAX])(const BackendOptions *, Backend **, char **) = {
        [BACKEND_SCOPE] = backend_scope_open,
        [BACKEND_CGROUP] = backend_cgroup_open,
        [BACKEND_PROCESS] = backend_process_open,
};

const char *backend_kind_to_string(BackendKind k)
{
        return k >= 0 && k < _BACKEND_MAX ? kind_names[k] : NULL;
}

BackendKind backend_kind_from_string(const char *s)
{
        for (int k = 0; k < _BACKEND_MAX; k++)
                if (streq(s, kind_names[k]))
                        return k;
        return _BACKEND_INVALID;
}

/* "no scope: systemd isn't running; no cgroup: …" grows with each kind tried in vain. */
static int add_refusal(char **refused, BackendKind k, char *why, int error)
{
        char *joined = xasprintf("%s%sno %s: %s", *refused ?: "", *refused ? "; " : "", kind_names[k],
                        why ?: strerror(-error));

        free(why);
        if (!joined)
                return -ENOMEM;
        free(*refused);
        *refused = joined;
        return 0;
}

int backend_open(const BackendOptions *options, BackendKind forced, Backend **ret, char **ret_why)
{
        _cleanup_free_ char *refused = NULL;
        int last = -EINVAL;

        *ret_why = NULL;
        for (int k = 0; k < _BACKEND_MAX; k++) {
                char *why = NULL;

                if (forced != _BACKEND_INVALID && forced != (BackendKind) k)
                        continue;
                last = openers[k](options, ret, &why);
                if (last == -ENOMEM) {
                        free(why);
                        return last;
                }
                if (last < 0) {
                        if (add_refusal(&refused, k, why, last) < 0)
                                return -ENOMEM;
                        continue;
                }
                *ret_why = refused ? xasprintf("%s (%s)", strna(why), refused) : xasprintf("%s", strna(why));
                free(why);
                return 0;
        }
        *ret_why = TAKE_PTR(refused);
        return last;
}

void backend_done(Backend *b)
{
        free(b->controllers);
        free(b->cgroup);
}

int counted_usage(Home *h, Usage *ret)
{
        cgroup_usage(h->cgroup_root, h->counted, ret);
        return 0;
}

void counted_spent(Home *h, Usage *ret)
{
        cgroup_spent(h->cgroup_root, h->counted, ret);
}

int counted_oom_kills(Home *h, uint64_t *ret)
{
        return cgroup_oom_kills(h->cgroup_root, h->counted, ret);
}

int counted_tasks(Home *h, uint64_t *ret_tasks, uint64_t *ret_max)
{
        return cgroup_tasks(h->cgroup_root, h->counted, ret_tasks, ret_max);
}
