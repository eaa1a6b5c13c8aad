/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>

#include "base/error.h"
#include "base/usec.h"
#include "keeper/spec.h"
#include "supervisor/manager.h"
#include "supervisor/node-json.h"
#include "wire/message.h"

/* Below the protocol's bounds (1 MiB a line, 65 536 values), with room for the envelope and a deep path's frames. */
#define VIEW_BYTES (900U * 1024)
#define VIEW_VALUES 60000U
/* Two levels of JSON for one of the tree, of which a line may have 64, with the envelope and what a node holds. */
#define VIEW_LEVELS 30
/* What one node costs without its path and what people write: measured on real trees and rounded up. */
#define NODE_BYTES 640U
#define NODE_VALUES 40U
/* Reading counters costs five small files a node: in a large reply only who asks for usage pays for it. */
#define USAGE_NODES 64U
#define CAUSES_MAX 32U

typedef struct ViewState {
        const NodeView *view;
        size_t bytes, values; /* of all nodes so far */
        size_t bytes_max;
        bool usage;
        uint32_t details; /* those that are asked for */
} ViewState;

static int set_integer(Json *object, const char *key, int64_t value)
{
        Json *v = NULL;
        int r = json_pack(&v, "I", value);

        return r < 0 ? r : json_set(object, key, v);
}

int exit_to_json(const ExitInfo *e, Json **ret)
{
        Json *v = NULL;
        int r;

        if (e->cause == CAUSE_NONE) {
                *ret = NULL;
                return 0;
        }
        r = json_pack(&v, "{cause:s, core:b, oom:b, pid:i, runtime_ms:U}", exit_cause_to_string(e->cause),
                        e->core_dumped, e->cause == CAUSE_OOM, e->pid, e->runtime_usec / USEC_PER_MSEC);
        if (r >= 0 && e->signal > 0)
                r = json_set(v, "signal", json_new_string(strna(signal_to_name(e->signal)), SIZE_MAX));
        else if (r >= 0 && e->code >= 0)
                r = set_integer(v, "code", e->code);
        if (r >= 0 && e->cause == CAUSE_SPAWN && e->spawn_errno > 0) {
                r = json_set(v, "step", json_new_string(strna(spawn_step_name(e->spawn_step)), SIZE_MAX));
                if (r >= 0)
                        r = set_integer(v, "errno", e->spawn_errno);
        }
        if (r >= 0 && e->report[0])
                r = json_set(v, "report", json_new_string(e->report, SIZE_MAX));
        if (r < 0) {
                json_unref(v);
                return r;
        }
        *ret = v;
        return 0;
}

/* What `exit` alone does not say: a program on stdio may end well just because it was cut off. */
static const char *explanation(const Node *node)
{
        const CrashReport *crash = node_crash(node);
        const Member *member = node_member(node);

        if (crash)
                return crash->message;
        return member && node->exit.cause == CAUSE_UNKNOWN ? member->trouble : NULL;
}

int exited_to_json(const Node *node, const char *id, Json **ret)
{
        const CrashReport *crash = node_crash(node);
        Json *exit = NULL;
        int r = exit_to_json(&node->exit, &exit);

        return r < 0 ? r
                     : json_pack(ret, "{path:s, id:s, exit:o, message:s?, backtrace:O?}", node->path, id,
                                       exit, explanation(node), crash ? crash->backtrace : NULL);
}

static bool process_lives(const Member *member)
{
        return member && member->life && member->life->pid > 0 && member->life->phase != LIFE_ENDED;
}

/* The end that led here; not an older one's. */
static bool tells_exit(const Node *node, NodeState from, NodeState to)
{
        switch (to) {
        case NODE_NEW:
        case NODE_STARTING:
                return from == NODE_STARTING || from == NODE_READY || from == NODE_STOPPING;
        case NODE_STOPPING: /* what the main process has left, or by request */
                return node->spec.kind == NODE_ACTOR && !process_lives(node_member(node));
        case NODE_READY:
                return false;
        default:
                return true;
        }
}

int node_state_event(const Node *node, NodeState from, NodeState to, Json **ret)
{
        const Member *member = node_member(node);
        const char *reason = member ? member->gave_up ?: member->trouble : NULL;
        _cleanup_json_ Json *exit = NULL, *v = NULL;
        int r;

        r = exit_to_json(&node->exit, &exit);
        if (r < 0)
                return r;
        r = json_pack(&v, "{from:s, to:s, kind:s, generation:i, restarts:i, exit:O?, reason:s?}",
                        node_state_to_string(from), node_state_to_string(to),
                        node->spec.kind == NODE_ACTOR ? "actor" : "supervisor", (int) node->generation,
                        (int) node->restarts, !tells_exit(node, from, to) ? NULL : exit, reason);
        if (r >= 0 && process_lives(member))
                r = set_integer(v, "pid", member->life->pid);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(v);
        return 0;
}

static bool wants(const ViewState *s, const char *field)
{
        const Json *fields = s->view->fields;

        if (!fields)
                return !streq(field, "usage") || s->usage;
        for (size_t i = 0; i < json_length(fields); i++)
                if (streq_ptr(json_string(json_item(fields, i)), field))
                        return true;
        return streq(field, "path"); /* a node without its path would be of no use */
}

/* NULL, which the protocol sees as null, when the counter is not to be had here. */
static Json *usage_number(uint64_t v)
{
        Json *n = NULL;

        if (v != UINT64_MAX)
                (void) json_pack(&n, "U", v);
        return n;
}

static int usage_to_json(const Member *member, Json **ret)
{
        Usage u = { UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, -1 };
        Json *pressure = NULL;

        (void) member->home->backend->vtable->home_usage(member->home, &u);
        if (u.pressure >= 0)
                (void) json_pack(&pressure, "f", u.pressure);
        return json_pack(ret, "{cpu_us:o, memory:o, memory_peak:o, tasks:o, pressure:o}",
                        usage_number(u.cpu_usec), usage_number(u.memory), usage_number(u.memory_peak),
                        usage_number(u.tasks), pressure);
}

/* Sets a member when it is wanted; consumes value. */
static int show(const ViewState *s, Json *v, const char *field, Json *value)
{
        if (value && wants(s, field))
                return json_set(v, field, value);
        json_unref(value);
        return 0;
}

static Json *string_or_null(const char *s)
{
        return s ? json_new_string(s, SIZE_MAX) : NULL;
}

/* Of a start what it waits for, which is told beside the end of the last generation and has nothing to do with it; else what
 * there is to say of that end, or why there was none. */
static const char *reason_of(const Node *node)
{
        const Member *member = node_member(node);

        if (node->state == NODE_STARTING)
                return member->probe ? probe_waits_for(member->probe) : NULL;
        if (member->gave_up || member->trouble)
                return member->gave_up ?: member->trouble;
        return node->state == NODE_FAILED && node->exit.cause == CAUSE_NONE ? "what it depends on failed"
                                                                            : NULL;
}

static int show_member(const ViewState *s, const Node *node, Json *v)
{
        const Member *member = node_member(node);
        Json *limits = NULL, *exit = NULL, *usage = NULL;
        const BackendVtable *home = member->home->backend->vtable;
        int r;

        r = limits_to_json(&member->limits, &limits);
        if (r >= 0)
                r = show(s, v, "limits", limits);
        if (r >= 0)
                r = show(s, v, "id", string_or_null(member->id));
        if (r >= 0 && process_lives(member) && wants(s, "pid"))
                r = set_integer(v, "pid", member->life->pid);
        if (r >= 0)
                r = show(s, v, "unit", string_or_null(home->home_unit(member->home)));
        if (r >= 0)
                r = show(s, v, "cgroup", string_or_null(home->home_cgroup(member->home)));
        if (r >= 0)
                r = exit_to_json(&node->exit, &exit);
        if (r >= 0)
                r = show(s, v, "exit", exit);
        if (r >= 0)
                r = show(s, v, "description", string_or_null(member->spec->description));
        if (r >= 0)
                r = show(s, v, "labels", json_ref(member->spec->labels));
        if (r >= 0)
                r = show(s, v, "status", string_or_null(member->status_text));
        if (r >= 0)
                r = show(s, v, "reason", string_or_null(reason_of(node)));
        if (r >= 0 && wants(s, "usage")) {
                r = usage_to_json(member, &usage);
                if (r >= 0)
                        r = show(s, v, "usage", usage);
        }
        return r < 0 ? r : node_details_to_json(node, s->details, v);
}

static int show_node(const ViewState *s, const Node *node, Json *v)
{
        bool actor = node->spec.kind == NODE_ACTOR;
        Json *n = NULL;
        int r;

        r = json_set(v, "path", json_new_string(node->path, SIZE_MAX));
        if (r >= 0)
                r = show(s, v, "kind", string_or_null(actor ? "actor" : "supervisor"));
        if (r >= 0)
                r = show(s, v, "state", string_or_null(node_state_to_string(node->state)));
        if (r >= 0 && !actor)
                r = show(s, v, "strategy", string_or_null(strategy_to_string(node->spec.strategy)));
        if (r >= 0 && wants(s, "generation"))
                r = set_integer(v, "generation", node->generation);
        if (r >= 0 && wants(s, "restarts"))
                r = set_integer(v, "restarts", node->restarts);
        if (r >= 0 && wants(s, "since_ms"))
                r = json_pack(&n, "U",
                                node->since_usec > 0
                                                ? usec_sub(now_usec(CLOCK_MONOTONIC), node->since_usec) /
                                                                  USEC_PER_MSEC
                                                : 0);
        if (r >= 0 && n)
                r = json_set(v, "since_ms", n);
        if (r >= 0 && node->frozen)
                r = json_pack(&n, "b", true) < 0 ? -ENOMEM : json_set(v, "frozen", n);
        if (r >= 0 && node_member(node))
                r = show_member(s, node, v);
        return r;
}

static size_t text_bytes(const char *text)
{
        size_t n = 0;

        for (const char *p = text ?: ""; *p; p++)
                n += (unsigned char) *p < 0x20 ? 6 : *p == '"' || *p == '\\' ? 2 : 1;
        return n;
}

/* Adds what a node will come to: what people may write into it without bound is counted, the rest estimated. */
static void add_cost(const ViewState *s, const Node *node, size_t *bytes, size_t *values)
{
        const Member *member = node_member(node);

        *bytes += NODE_BYTES + 3 * strlen(node->path);
        *values += NODE_VALUES;
        if (!member)
                return;
        if (wants(s, "description"))
                *bytes += text_bytes(member->spec->description);
        if (wants(s, "status"))
                *bytes += text_bytes(member->status_text);
        if (wants(s, "reason"))
                *bytes += text_bytes(reason_of(node));
        node_details_cost(s->details, bytes, values);
        if (wants(s, "labels"))
                for (JsonIterator i = { 0 }; json_next(member->spec->labels, &i); (*values)++)
                        *bytes += text_bytes(i.key) + text_bytes(json_string(i.value)) +
                                  strlen("\"\":\"\",");
}

static bool has_room(const ViewState *s, const Node *node)
{
        size_t bytes = s->bytes, values = s->values;

        add_cost(s, node, &bytes, &values);
        return bytes <= s->bytes_max && values <= VIEW_VALUES;
}

static int view_node(ViewState *s, const Node *node, int depth, const char *after, Json **ret);

static int view_children(ViewState *s, const Node *node, int depth, const char *after, Json *v)
{
        const char *last = NULL;
        Json *children = NULL;
        bool skipping = after != NULL;
        int r;

        r = json_pack(&children, "[]");
        if (r < 0)
                return r;
        CORE_CHILD_FOREACH(child, node) {
                Json *c = NULL;

                if (skipping) {
                        skipping = !streq(child->name, after);
                        continue;
                }
                if (last && !has_room(s, child)) {
                        r = json_set(v, "more", json_new_string(last, SIZE_MAX));
                        break;
                }
                r = view_node(s, child, depth - 1, NULL, &c);
                if (r >= 0)
                        r = json_append(children, c);
                if (r < 0)
                        break;
                last = child->name;
        }
        if (r < 0) {
                json_unref(children);
                return r;
        }
        return json_set(v, "children", children);
}

static int view_node(ViewState *s, const Node *node, int depth, const char *after, Json **ret)
{
        _cleanup_json_ Json *v = NULL;
        int r;

        add_cost(s, node, &s->bytes, &s->values);
        r = json_pack(&v, "{}");
        if (r >= 0)
                r = show_node(s, node, v);
        if (r >= 0 && depth != 0 && (node->spec.kind == NODE_SUPERVISOR || !list_is_empty(&node->children)))
                r = view_children(s, node, depth, after, v);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(v);
        return 0;
}

static size_t count_up_to(const Node *node, int depth, size_t limit)
{
        size_t n = 1;

        if (depth != 0)
                CORE_CHILD_FOREACH(child, node) {
                        if (n >= limit)
                                break;
                        n += count_up_to(child, depth - 1, limit - n);
                }
        return n;
}

int node_to_json(const Node *node, const NodeView *view, Json **ret)
{
        int depth = view->depth < 0 ? VIEW_LEVELS : MIN(view->depth, VIEW_LEVELS);
        ViewState s = { .view = view, .bytes_max = MIN(VIEW_BYTES, view->max_line / 8 * 7) };

        s.details = node_details_named(view->fields);
        s.usage = count_up_to(node, depth, USAGE_NODES + 1) <= USAGE_NODES;
        return view_node(&s, node, depth, view->after, ret);
}

static int actor_error(const Node *node, Json **ret)
{
        const Member *member = node_member(node);
        const ExitInfo *e = &node->exit;
        const CrashReport *crash = node_crash(node);
        const char *why = explanation(node);
        Json *exit = NULL, *data = NULL;

        if (exit_to_json(e, &exit) < 0)
                return -ENOMEM;
        if (e->cause == CAUSE_SPAWN) {
                if (json_pack(&data, "{actor:s, step:s, errno:i, exit:o}", node->path,
                                    spawn_step_name(e->spawn_step), e->spawn_errno, exit) < 0)
                        return -ENOMEM;
                return message_error_object(ret, ERROR_SPAWN_FAILED, data, "%s: can't start: %s: %s",
                                node->path, strna(spawn_step_name(e->spawn_step)),
                                member && member->trouble ? member->trouble : strerror(e->spawn_errno));
        }
        if (json_pack(&data, "{actor:s, exit:o, backtrace:O?}", node->path, exit,
                            crash ? crash->backtrace : NULL) < 0)
                return -ENOMEM;
        if (e->cause == CAUSE_NONE)
                return message_error_object(ret, ERROR_ACTOR_STOPPED, data,
                                "%s: never started: what it depends on failed", node->path);
        if (e->signal > 0)
                return message_error_object(ret, ERROR_ACTOR_DIED, data, "%s: died of %s (cause %s)%s%s",
                                node->path, strna(signal_to_name(e->signal)), exit_cause_to_string(e->cause),
                                why ? ": " : "", why ?: "");
        return message_error_object(ret, ERROR_ACTOR_DIED, data, "%s: exited with code %d (cause %s)%s%s",
                        node->path, e->code, exit_cause_to_string(e->cause), why ? ": " : "", why ?: "");
}

static bool ended_badly(const ExitInfo *e)
{
        return e->cause != CAUSE_NONE && e->cause != CAUSE_STOP && e->code != 0;
}

/* The failed actors below, as far as they are worth telling. */
static int collect_causes(const Node *node, Json *causes)
{
        CORE_CHILD_FOREACH(child, node) {
                Json *error = NULL;
                int r;

                if (json_length(causes) >= CAUSES_MAX)
                        return 0;
                if (child->spec.kind == NODE_SUPERVISOR) {
                        r = collect_causes(child, causes);
                } else {
                        if (child->state != NODE_FAILED && !ended_badly(&child->exit))
                                continue;
                        r = actor_error(child, &error);
                        if (r >= 0)
                                r = json_append(causes, error);
                }
                if (r < 0)
                        return r;
        }
        return 0;
}

int node_error(const Node *node, Json **ret)
{
        Json *causes = NULL, *data = NULL;
        bool cancels;

        if (node->spec.kind == NODE_ACTOR)
                return actor_error(node, ret);
        cancels = node->spec.strategy == STRATEGY_ONE_CANCELS_ALL ||
                  node->spec.strategy == STRATEGY_ONE_CANCELS_ONE;
        if (json_pack(&causes, "[]") < 0)
                return -ENOMEM;
        if (collect_causes(node, causes) < 0) {
                json_unref(causes);
                return -ENOMEM;
        }
        if (json_pack(&data, "{actor:s, causes:o}", node->path, causes) < 0)
                return -ENOMEM;
        if (cancels)
                return message_error_object(ret, ERROR_GROUP, data, "%s: %zu of its children failed",
                                node->path, json_length(causes));
        return message_error_object(ret, ERROR_RESTART_LIMIT, data,
                        "%s: gave up: more than %u restarts within %g s", node->path,
                        node->spec.intensity.max_restarts, (double) node->spec.intensity.within_usec / 1e6);
}
