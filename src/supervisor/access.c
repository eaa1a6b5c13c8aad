/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "base/path.h"
#include "base/usec.h"
#include "tractor/messages.h"
#include "supervisor/access-private.h"

/* A user's refusals on record: so many at once, then one more each interval. */
#define AUDIT_BURST 10U
#define AUDIT_INTERVAL_USEC (10 * USEC_PER_SEC)
#define STATUS_PROBLEMS_MAX 32U
/* A path may be as long as a line: nobody fills the log with one. */
#define PATH_SHOWN_MAX 256U

int access_new(sd_event *event, Journal *journal, const char *instance, bool (*known)(const char *method),
                Access **ret)
{
        _cleanup_(access_freep) Access *a = calloc(1, sizeof(Access));

        if (!a)
                return -ENOMEM;
        a->instance = strdup(instance);
        if (!a->instance)
                return -ENOMEM;
        a->event = sd_event_ref(event);
        a->journal = journal;
        a->known = known;
        access_reload(a);
        *ret = TAKE_PTR(a);
        return 0;
}

Access *access_free(Access *a)
{
        if (!a)
                return NULL;
        a->resolve = resolve_free(a->resolve);
        access_rules_done(&a->rules);
        access_rules_done(&a->next);
        config_problems_done(&a->problems);
        sd_event_unref(a->event);
        free(a->instance);
        free(a);
        return NULL;
}

/* --- what holds where no rule applies --- */

static bool is_in_own_tree(const char *actor, const char *path)
{
        size_t n = 1 + strcspn(actor + 1, "/");

        return strncmp(actor, path, n) == 0 && (path[n] == 0 || path[n] == '/');
}

static bool actor_may(const Peer *peer, const char *method, const char *path)
{
        static const char *const below[] = { "tree.get", "tree.unload", "events.subscribe", "actor.",
                "nursery." };
        static const char *const own_tree[] = { "actor.find", "actor.wait_for", "actor.connect" };

        for (size_t i = 0; i < ELEMENTSOF(own_tree); i++)
                if (streq(method, own_tree[i]))
                        return !path || is_in_own_tree(peer->path, path);
        if (!path)
                return false;
        /* Its limits are its tree's to set: raising them would be a way out of them. So is its place in it. */
        if (streq(path, peer->path) && (streq(method, "actor.set_limits") || streq(method, "tree.unload")))
                return false;
        for (size_t i = 0; i < ELEMENTSOF(below); i++)
                if (startswith(method, below[i]))
                        return node_path_covers(peer->path, path);
        return false;
}

static const char *check_default(const Peer *peer, const char *method, const char *path)
{
        if (streq(method, "supervisor.ping"))
                return NULL;
        if (peer->kind != PEER_ACTOR)
                return "default: root and the supervisor's own user only";
        if (actor_may(peer, method, path))
                return NULL;
        return "default: an actor may act on itself and what is below it, and find and connect to others of "
               "its tree";
}

const char *access_check(const Access *a, const Peer *peer, const char *method, const char *path)
{
        const AccessRule *rule;

        if (peer->kind == PEER_CLIENT && (peer->uid == 0 || peer->uid == geteuid()))
                return NULL;
        if (a->state == ACCESS_READING)
                return "default: the rules are still being read; try again";
        if (a->state == ACCESS_WRONG)
                return "default: root and the supervisor's own user only, since the rules of access.d are "
                       "wrong";
        rule = access_rules_match(&a->rules, peer, method, path);
        if (!rule)
                return check_default(peer, method, path);
        return rule->allow ? NULL : rule->label;
}

/* --- on record --- */

static bool take_token(AuditSlot *slot)
{
        const uint64_t now = now_usec(CLOCK_MONOTONIC), passed = now - slot->filled_usec;

        if (slot->filled_usec == 0 || passed / AUDIT_INTERVAL_USEC >= AUDIT_BURST) {
                slot->tokens = AUDIT_BURST;
                slot->filled_usec = now;
        } else {
                slot->tokens = MIN(slot->tokens + (unsigned) (passed / AUDIT_INTERVAL_USEC), AUDIT_BURST);
                slot->filled_usec += passed / AUDIT_INTERVAL_USEC * AUDIT_INTERVAL_USEC;
        }
        if (slot->tokens == 0)
                return false;
        slot->tokens--;
        return true;
}

static char *audit_message(const AuditSlot *slot, const Peer *peer, const char *method, const char *path,
                const char *rule)
{
        char name[PEER_NAME_SIZE], more[64] = "";

        if (slot->unlogged > 0)
                (void) snprintf(more, sizeof(more), " (%llu before it not logged)",
                                (unsigned long long) slot->unlogged);
        return xasprintf("refused %s%s%s to %s, uid %u, pid %d: %s%s", method ?: "a method",
                        path ? " about " : "", path ?: "", peer_name(peer, name), (unsigned) peer->uid,
                        (int) peer->pid, rule, more);
}

void access_audit(Access *a, const Peer *peer, const char *method, const char *path, const char *rule)
{
        AuditSlot *slot = &a->slots[peer->uid % AUDIT_SLOTS];
        _cleanup_free_ char *message = NULL;
        char name[PEER_NAME_SIZE], shortened[PATH_SHOWN_MAX + 1];
        JournalRecord record = { 0 };

        a->refused++;
        if (!take_token(slot)) {
                slot->unlogged++;
                a->unlogged++;
                return;
        }
        if (path && strlen(path) > PATH_SHOWN_MAX) {
                (void) snprintf(shortened, sizeof(shortened), "%.*s...", (int) PATH_SHOWN_MAX - 3, path);
                path = shortened;
        }
        message = audit_message(slot, peer, method, path, rule);
        slot->unlogged = 0;
        if (!a->journal) {
                log_notice("%s", message ?: "refused a request");
                return;
        }
        journal_field(&record, "MESSAGE_ID", TRACTOR_MESSAGE_REFUSED);
        journal_fieldf(&record, "PRIORITY", "%d", LOG_NOTICE);
        journal_field(&record, "SYSLOG_IDENTIFIER", "tractor");
        journal_field(&record, "MESSAGE", message ?: "refused a request");
        journal_field(&record, "TRACTOR_EVENT", "refused");
        journal_field(&record, "TRACTOR_METHOD", method);
        journal_field(&record, "TRACTOR_PATH", path);
        journal_field(&record, "TRACTOR_RULE", rule);
        journal_field(&record, "TRACTOR_PEER", peer_name(peer, name));
        journal_fieldf(&record, "TRACTOR_PEER_UID", "%u", (unsigned) peer->uid);
        journal_fieldf(&record, "TRACTOR_PEER_PID", "%d", (int) peer->pid);
        (void) journal_send(a->journal, &record);
}

static int problems_to_json(const ConfigProblems *problems, Json **ret)
{
        Json *list = NULL;
        int r;

        r = json_pack(&list, "[]");
        for (size_t i = 0; r >= 0 && i < MIN(problems->n, STATUS_PROBLEMS_MAX); i++) {
                const ConfigProblem *p = &problems->items[i];
                Json *item = NULL;

                r = json_pack(&item, "{pointer:s, message:s}", p->pointer, p->message);
                if (r >= 0)
                        r = json_append(list, item);
        }
        if (r < 0) {
                json_unref(list);
                return r;
        }
        *ret = list;
        return 0;
}

int access_to_json(const Access *a, Json **ret)
{
        static const char *const states[] = {
                [ACCESS_READING] = "reading",
                [ACCESS_READ] = "read",
                [ACCESS_WRONG] = "wrong",
        };
        Json *problems = NULL;
        int r;

        r = problems_to_json(&a->problems, &problems);
        if (r < 0)
                return r;
        return json_pack(ret, "{state:s, rules:i, problems:o, refused:U, unlogged:U}", states[a->state],
                        (int) a->rules.n, problems, a->refused, a->unlogged);
}
