/* SPDX-License-Identifier: Apache-2.0 */

/* Limits that were asked for and can't be had: all of them, node by node, so that one look at the error is enough to mend a
 * file; whose fault it is, the backend's or the host's; and how to go on. */

#include <errno.h>
#include <stdio.h>

#include "base/error.h"
#include "base/path.h"
#include "supervisor/cgroup.h"
#include "supervisor/manager.h"
#include "wire/message.h"

/* So many are named. */
#define NODES_MAX 16U

typedef struct Refusal {
        const Manager *manager;
        FILE *f;
        char *first; /* path */
        size_t n;    /* nodes */
        uint32_t limits;
} Refusal;

static void put_names(FILE *f, uint32_t limits)
{
        const char *comma = "";

        for (Limit l = 0; l < _LIMIT_MAX; l++)
                if (limits & (1U << l)) {
                        fprintf(f, "%s%s", comma, limit_name(l));
                        comma = ", ";
                }
}

/* Each once: those of one controller stand together. */
static void put_controllers(FILE *f, uint32_t limits)
{
        const char *last = NULL;

        for (Limit l = 0; l < _LIMIT_MAX; l++) {
                if (!(limits & (1U << l)) || (last && streq(last, limit_controller(l))))
                        continue;
                fprintf(f, "%s%s", last ? ", " : "", limit_controller(l));
                last = limit_controller(l);
        }
}

static int refuse_node(Refusal *refusal, const char *path, uint32_t limits)
{
        refusal->limits |= limits;
        if (refusal->n == 0 && !(refusal->first = strdup(path)))
                return -ENOMEM;
        if (refusal->n++ >= NODES_MAX)
                return 0;
        fprintf(refusal->f, "%s%s: ", refusal->n > 1 ? "; " : "", path);
        put_names(refusal->f, limits);
        return 0;
}

static int refuse_below(Refusal *refusal, const TreeSpec *spec, const char *parent)
{
        uint32_t limits = spec->limits_optional ? 0
                                                : cgroup_unenforceable_all(&spec->limits,
                                                                  refusal->manager->backend->controllers);
        _cleanup_free_ char *path = NULL;
        int r = 0;

        if (limits == 0 && spec->n_children == 0)
                return 0;
        path = node_path_join(parent, spec->name);
        if (!path)
                return -ENOMEM;
        if (limits != 0)
                r = refuse_node(refusal, path, limits);
        for (size_t i = 0; i < spec->n_children && r >= 0; i++)
                r = refuse_below(refusal, spec->children[i], path);
        return r;
}

static void put_reason(const Refusal *refusal)
{
        BackendKind kind = refusal->manager->backend->vtable->kind;

        if (refusal->n > NODES_MAX)
                fprintf(refusal->f, "; and of %zu more", refusal->n - NODES_MAX);
        if (kind == BACKEND_PROCESS) {
                fprintf(refusal->f, ": the %s backend enforces no limits", backend_kind_to_string(kind));
                return;
        }
        fputs(": can't be enforced here: cgroup.controllers lacks ", refusal->f);
        put_controllers(refusal->f, refusal->limits);
}

static const char *remedy(bool process, bool optional)
{
        if (!optional)
                return process ? "that takes another backend" : "leave them out";
        return process ? "set limits_optional to run without them, or use another backend"
                       : "set limits_optional to run without them";
}

/* Ends the text that was begun, and makes the error of it where there was anything to refuse. */
static int refusal_end(Refusal *refusal, int r, char **text, bool optional, Json **ret_error)
{
        bool process = refusal->manager->backend->vtable->kind == BACKEND_PROCESS;
        _cleanup_free_ char *first = refusal->first, *what = NULL;
        Json *data = NULL;

        if (refusal->n > 0)
                put_reason(refusal);
        if (fclose(refusal->f) != 0 && r >= 0)
                r = -ENOMEM;
        what = *text;
        if (r < 0 || refusal->n == 0)
                return r;
        (void) json_pack(&data, "{actor:s}", first);
        (void) message_error_object(
                        ret_error, ERROR_UNSUPPORTED, data, "%s; %s", what, remedy(process, optional));
        return -EOPNOTSUPP;
}

int manager_check_limits(const Manager *m, const TreeSpec *spec, const char *parent, Json **ret_error)
{
        char *text = NULL;
        size_t size;
        Refusal refusal = { .manager = m, .f = open_memstream(&text, &size) };

        if (!refusal.f)
                return -ENOMEM;
        return refusal_end(&refusal, refuse_below(&refusal, spec, parent), &text, true, ret_error);
}

int member_check_limits(const Member *member, const Limits *limits, Json **ret_error)
{
        uint32_t refused = cgroup_unenforceable_all(limits, member->manager->backend->controllers);
        Refusal refusal = { .manager = member->manager };
        char *text = NULL;
        size_t size;

        if (refused == 0)
                return 0;
        refusal.f = open_memstream(&text, &size);
        if (!refusal.f)
                return -ENOMEM;
        return refusal_end(&refusal, refuse_node(&refusal, member->node->path, refused), &text, false,
                        ret_error);
}
