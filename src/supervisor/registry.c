/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/error.h"
#include "supervisor/access.h"
#include "supervisor/registry.h"

/* One of an actor's names. */
struct Registered {
        Registered *next; /* the member's others */
        ListNode queue;   /* in name->bearers */
        struct Name *name;
        Member *member; /* weak */
        bool alias;
};

typedef struct Waiting {
        ListNode queue; /* in name->waiting */
        struct Name *name;
        const Peer *peer; /* weak: it outlives its calls */
        Call *call;
} Waiting;

/* There as long as somebody bears it or waits for it. */
typedef struct Name {
        Registry *registry; /* weak */
        ListNode bearers, waiting;
        char text[];
} Name;

struct Registry {
        Map names;
};

int registry_new(Registry **ret)
{
        *ret = calloc(1, sizeof(Registry));
        return *ret ? 0 : -ENOMEM;
}

static int name_get(Registry *r, const char *text, Name **ret)
{
        Name *name = map_get(&r->names, text);
        size_t n = strlen(text) + 1;
        int k;

        if (!name) {
                name = calloc(1, sizeof(Name) + n);
                if (!name)
                        return -ENOMEM;
                name->registry = r;
                list_init(&name->bearers);
                list_init(&name->waiting);
                memcpy(name->text, text, n);
                k = map_put(&r->names, name->text, name);
                if (k < 0) {
                        free(name);
                        return k;
                }
        }
        *ret = name;
        return 0;
}

static void name_put(Name *name)
{
        if (!list_is_empty(&name->bearers) || !list_is_empty(&name->waiting))
                return;
        (void) map_remove(&name->registry->names, name->text);
        free(name);
}

static Call *waiting_free(Waiting *w)
{
        Call *call = w->call;

        list_unlink(&w->queue);
        name_put(w->name);
        free(w);
        return call;
}

Registry *registry_free(Registry *r)
{
        if (!r)
                return NULL;
        for (;;) {
                size_t pos = 0;
                Name *name = map_next(&r->names, &pos);

                if (!name || list_is_empty(&name->waiting))
                        break;
                call_fail(waiting_free(LIST_ENTRY(name->waiting.next, Waiting, queue)), ERROR_ACTOR_STOPPED,
                                NULL, "the supervisor stops");
        }
        assert(r->names.n == 0);
        map_clear(&r->names);
        free(r);
        return NULL;
}

/* --- who is there --- */

int registry_answer(const Member *member, Json **ret)
{
        *ret = NULL;
        return member ? json_pack(ret, "{path:s, id:s}", member->node->path, member->id) : 0;
}

static bool may_know(const Peer *peer, const Member *member)
{
        return !access_check(member->manager->access, peer, "actor.find", member->node->path);
}

/* Answering may free the asker's connection, and with it others that wait: one at a time. */
static bool answer_one(Name *name, const Member *member)
{
        LIST_FOREACH(i, &name->waiting) {
                Waiting *w = LIST_ENTRY(i, Waiting, queue);
                Json *result = NULL;
                Call *call;

                if (!may_know(w->peer, member))
                        continue;
                call = waiting_free(w);
                if (registry_answer(member, &result) < 0)
                        call_fail(call, ERROR_INTERNAL, NULL, "out of memory");
                else
                        call_reply(call, result, NULL, 0);
                return true;
        }
        return false;
}

static int bear(Registry *r, Member *member, const char *text, bool alias)
{
        Registered *b = calloc(1, sizeof(Registered));
        Name *name;
        int k = b ? name_get(r, text, &name) : -ENOMEM;

        if (k < 0) {
                free(b);
                return k;
        }
        *b = (Registered){ .next = member->registered, .name = name, .member = member, .alias = alias };
        list_append(&name->bearers, &b->queue);
        member->registered = b;
        /* The bearer keeps the name there. */
        while (answer_one(name, member))
                ;
        return 0;
}

static void unbear(Registered *b)
{
        list_unlink(&b->queue);
        name_put(b->name);
        free(b);
}

int registry_add(Registry *r, Member *member)
{
        Name *path;
        int k;

        if (member->registered)
                return 0;
        k = bear(r, member, member->node->name, false);
        if (k < 0)
                return k;
        /* A path is looked up in the tree, but may be waited for as a name is. */
        do
                path = map_get(&r->names, member->node->path);
        while (path && answer_one(path, member));
        return 0;
}

void registry_remove(Member *member)
{
        while (member->registered) {
                Registered *b = member->registered;

                member->registered = b->next;
                unbear(b);
        }
}

int registry_register(Registry *r, Member *member, const char *text)
{
        const Name *name = map_get(&r->names, text);
        unsigned n = 0;

        if (!member->registered)
                return -EAGAIN;
        if (name)
                LIST_FOREACH(i, &name->bearers) {
                        const Registered *b = LIST_ENTRY(i, Registered, queue);

                        if (b->member == member)
                                return 0;
                        if (b->alias)
                                return -EEXIST;
                }
        for (const Registered *b = member->registered; b; b = b->next)
                n += b->alias;
        return n >= REGISTRY_ALIASES_MAX ? -EDQUOT : bear(r, member, text, true);
}

int registry_unregister(Registry *r, Member *member, const char *text)
{
        for (Registered **at = &member->registered; *at; at = &(*at)->next)
                if ((*at)->alias && streq((*at)->name->text, text)) {
                        Registered *b = *at;

                        *at = b->next;
                        unbear(b);
                        return 0;
                }
        return -ENOENT;
}

/* --- who is looked for --- */

Member *registry_find(const Registry *r, const char *text, const Peer *peer)
{
        const Name *name = map_get(&r->names, text);

        if (name)
                LIST_FOREACH(i, &name->bearers) {
                        Member *member = LIST_ENTRY(i, Registered, queue)->member;

                        if (may_know(peer, member))
                                return member;
                }
        return NULL;
}

static void on_cancel(Call *call, void *userdata)
{
        (void) waiting_free(userdata);
        call_fail(call, ERROR_CANCELLED, NULL, "%s: the request was cancelled", call_method(call));
}

int registry_wait(Registry *r, const char *text, const Peer *peer, Call *call)
{
        Waiting *w = calloc(1, sizeof(Waiting));
        int k = w ? name_get(r, text, &w->name) : -ENOMEM;

        if (k < 0) {
                free(w);
                return k;
        }
        w->peer = peer;
        w->call = call;
        list_append(&w->name->waiting, &w->queue);
        call_set_userdata(call, w, on_cancel);
        return 0;
}
