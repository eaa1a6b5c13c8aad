/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>

#include "base/error.h"
#include "base/io.h"
#include "base/log.h"
#include "base/usec.h"
#include "supervisor/methods.h"
#include "supervisor/remember-record.h"
#include "supervisor/remember.h"

struct Remember {
        Manager *manager; /* weak */
        RememberTable table;
        ListNode errands;
        size_t n_errands;
};

/* One request being carried out, from its intent to its answer. */
typedef struct Errand {
        Remember *remember; /* weak */
        Remembered *e;      /* weak, never forgotten before it is answered */
        ListNode queue;     /* in remember->errands, the oldest first */
        ListNode askers;
        Call *call; /* weak: the handler's */
        Peer peer;  /* a copy: the handlers need who asked first for longer than he may stay */
        bool cancelled;
} Errand;

typedef struct Asker {
        ListNode queue;
        Errand *errand;
        Call *call;
} Asker;

/* Not nursery.open: what it opens ends with the connection that it was opened on, so that there is nothing to repeat. */
static const char *const effects[] = { "tree.load", "tree.apply", "tree.unload", "nursery.close",
        "actor.spawn", "actor.cancel", "actor.kill", "actor.restart", "actor.freeze", "actor.thaw",
        "actor.set_limits" };

static bool has_effect(const char *method)
{
        for (size_t i = 0; i < ELEMENTSOF(effects); i++)
                if (streq(effects[i], method))
                        return true;
        return false;
}

/* Tells a request from another under the same key by mistake. Who makes two collide harms itself. */
static int digest_of(const Message *m, uint64_t *ret)
{
        uint64_t h = REMEMBER_HASH_START;
        const char *text;
        size_t n;

        if (m->params) {
                text = json_print(m->params, &n);
                if (!text)
                        return -ENOMEM;
                h = remember_hash(h, text, n);
        }
        if (m->if_id)
                h = remember_hash(h, m->if_id, strlen(m->if_id) + 1);
        *ret = h;
        return 0;
}

/* --- with the keeper --- */

static void on_forget(Remembered *e, void *userdata)
{
        Remember *r = userdata;

        (void) keeper_link_forget(r->manager->keeper, e->record);
}

/* An intent that does not reach the keeper at once is none: the effect would come first. */
static int store_intent(Remember *r, Remembered *e)
{
        _cleanup_free_ char *text = NULL;
        size_t n;
        int k = remember_record_write(e, &text, &n);

        if (k < 0)
                return k;
        e->record = ++r->manager->next_key;
        return keeper_link_store(r->manager->keeper, e->record, text, n, false);
}

static int store_answer(Remember *r, const Remembered *e)
{
        _cleanup_free_ char *text = NULL;
        size_t n;
        int k = remember_record_write(e, &text, &n);

        return k < 0 ? k : keeper_link_store(r->manager->keeper, e->record, text, n, true);
}

/* What is too long, or for what there is no memory, is told to those who wait; later ones hear that it was done. */
static void keep_answer(Remember *r, Remembered *e, Json *value, bool is_error)
{
        size_t n = 0;
        const char *text = json_print(value, &n);
        char *copy = text && n <= REMEMBER_ANSWER_MAX ? strndup(text, n) : NULL;
        int k;

        remember_table_answer(&r->table, e, copy, copy ? n : 0, is_error, now_usec(CLOCK_MONOTONIC));
        k = store_answer(r, e);
        if (k < 0)
                log_errno(k, "%s: its answer can't be stored with the keeper", e->method);
}

/* --- those who ask --- */

/* Gives the call back to be answered. */
static Call *asker_end(Asker *a)
{
        Call *call = a->call;

        call_set_userdata(call, NULL, NULL);
        list_unlink(&a->queue);
        free(a);
        return call;
}

static bool is_alone(const Asker *a)
{
        return a->queue.next == a->queue.prev;
}

/* The last one takes the request with it: its answer is then what that comes to. */
static void on_asker_cancel(Call *call, void *userdata)
{
        Asker *a = userdata;
        Errand *errand = a->errand;

        if (call_is_wanted(call) && is_alone(a) && !errand->cancelled) {
                errand->cancelled = true;
                call_cancel(errand->call, call_canceller(call), call_cancel_reason(call));
                return;
        }
        call_fail(asker_end(a), ERROR_CANCELLED, NULL, "%s: the request was cancelled", call_method(call));
}

static int asker_new(Errand *errand, Call *call)
{
        Asker *a = calloc(1, sizeof(Asker));

        if (!a)
                return -ENOMEM;
        *a = (Asker){ .errand = errand, .call = call };
        list_append(&errand->askers, &a->queue);
        call_set_userdata(call, a, on_asker_cancel);
        return 0;
}

/* Its own copy: an error is completed for who is told it (by whom it was cancelled). */
static void fail_call(Call *call, Json *error)
{
        static const JsonLimits limits = { .max_depth = 128 };
        Json *copy = NULL;
        size_t n = 0;
        const char *text = json_print(error, &n);

        if (!text || json_parse(text, n, &limits, &copy, NULL) < 0)
                call_fail(call, ERROR_INTERNAL, NULL, "out of memory");
        else
                call_fail_object(call, copy);
}

/* Each gets its own copies of the descriptors; where there is no room for them, the answer without. */
static void answer_call(Call *call, Json *value, bool is_error, const int *fds, size_t n_fds)
{
        int copies[MESSAGE_FDS_MAX];
        size_t n = 0;

        if (is_error) {
                fail_call(call, value);
                return;
        }
        for (; n < n_fds; n++) {
                copies[n] = fcntl(fds[n], F_DUPFD_CLOEXEC, 3);
                if (copies[n] < 0)
                        break;
        }
        if (n < n_fds) {
                close_many(copies, n);
                n = 0;
        }
        call_reply(call, json_ref(value), copies, n);
}

/* --- what comes back --- */

static Errand *errand_new(Remember *r, const Peer *peer)
{
        Errand *errand = calloc(1, sizeof(Errand));

        if (!errand)
                return NULL;
        if (peer_copy(peer, &errand->peer) < 0) {
                free(errand);
                return NULL;
        }
        errand->remember = r;
        list_init(&errand->askers);
        list_append(&r->errands, &errand->queue);
        r->n_errands++;
        return errand;
}

static Errand *errand_free(Errand *errand)
{
        list_unlink(&errand->queue);
        errand->remember->n_errands--;
        if (errand->e)
                errand->e->userdata = NULL;
        peer_done(&errand->peer);
        free(errand);
        return NULL;
}

/* The handler may have it still, and answers it to nobody. */
static void errand_abandon(Errand *errand)
{
        call_abandon(errand->call);
        errand_free(errand);
}

/* The answer is with the keeper before anybody hears it. */
static void errand_answer(Errand *errand, Json *value, bool is_error, int *fds, size_t n_fds)
{
        errand->e->with_fds = n_fds > 0;
        keep_answer(errand->remember, errand->e, value, is_error);
        while (!list_is_empty(&errand->askers)) {
                Asker *a = LIST_ENTRY(errand->askers.next, Asker, queue);

                answer_call(asker_end(a), value, is_error, fds, n_fds);
        }
        errand_free(errand);
}

static void on_answer(Json *result, Json *error, int *fds, size_t n_fds, void *userdata)
{
        Errand *errand = userdata;
        _cleanup_json_ Json *made = NULL;

        if (!result && !error) {
                (void) remember_unknown_outcome(errand->e->method, &made);
                error = made;
        }
        errand_answer(errand, result ?: error, !result, fds, n_fds);
}

/* --- requests --- */

static void refuse(Call *call, int k)
{
        if (k == -EDQUOT)
                call_fail(call, ERROR_LIMIT_EXCEEDED, NULL,
                                "too many requests with a key wait for their answers; at most %d of one "
                                "user",
                                REMEMBER_PER_OWNER);
        else if (k == -ENOMEM)
                call_fail(call, ERROR_INTERNAL, NULL, "out of memory");
        else
                call_fail(call, ERROR_LIMIT_EXCEEDED, NULL,
                                "the request can't be recorded now: %s; nothing was done, ask again",
                                strerror(-k));
}

/* Records the intent. */
static int errand_record(Errand *errand, const char *owner, const Message *m, uint64_t digest)
{
        Remember *r = errand->remember;
        int k = remember_table_add(
                        &r->table, owner, m->key, m->method, digest, now_usec(CLOCK_MONOTONIC), &errand->e);

        if (k < 0)
                return k;
        errand->e->userdata = errand;
        k = store_intent(r, errand->e);
        if (k < 0)
                remember_table_drop(&r->table, TAKE_PTR(errand->e));
        return k;
}

/* The request is the errand's from here on: `q` is made its own. */
static int begin(Remember *r, Request *q, const char *owner, const Message *m, uint64_t digest)
{
        Errand *errand = errand_new(r, q->peer);
        int k = errand ? call_new_detached(m->method, on_answer, errand, &errand->call) : -ENOMEM;

        if (k >= 0)
                k = asker_new(errand, q->call);
        if (k >= 0)
                k = errand_record(errand, owner, m, digest);
        if (k >= 0) {
                q->call = errand->call;
                q->peer = &errand->peer;
                return 0;
        }
        if (errand && !list_is_empty(&errand->askers))
                (void) asker_end(LIST_ENTRY(errand->askers.next, Asker, queue));
        if (errand && errand->call) {
                call_abandon(errand->call);
                call_fail(errand->call, ERROR_INTERNAL, NULL, "not begun");
        }
        if (errand)
                errand_free(errand);
        return k;
}

/* The actor's pidfd, while that generation lives. */
static int reopen_pidfd(const Manager *m, const Json *result)
{
        const char *path = json_get_string(result, "path", NULL), *id = json_get_string(result, "id", NULL);
        const Node *node = path && id ? core_find(m->core, path) : NULL;
        const Life *life = node && node_member(node) ? node_member(node)->life : NULL;

        if (!life || life->pidfd < 0 || life->phase == LIFE_ENDED || !streq(life->id, id))
                return -ESRCH;
        return life->pidfd;
}

static void answer_again(Remember *r, Remembered *e, Call *call)
{
        static const JsonLimits limits = { .max_depth = 128 };
        _cleanup_json_ Json *value = NULL;
        int fd = -EBADF;

        remember_table_use(&r->table, e);
        if (!e->answer) {
                call_fail(call, ERROR_LIMIT_EXCEEDED, NULL,
                                "%s: was done, and its answer was too long to be kept", e->method);
                return;
        }
        if (json_parse(e->answer, e->size, &limits, &value, NULL) < 0) {
                call_fail(call, ERROR_INTERNAL, NULL, "out of memory");
                return;
        }
        if (e->with_fds)
                fd = reopen_pidfd(r->manager, value);
        answer_call(call, value, e->is_error, &fd, fd >= 0 ? 1 : 0);
}

/* Users and actors, each with the keys it chose; a path has no blanks. */
static char *owner_of(const Peer *peer)
{
        if (peer->kind == PEER_ACTOR)
                return xasprintf("actor:%s", peer->path);
        return xasprintf("uid:%u", (unsigned) peer->uid);
}

/* A portal's other end is the actor's: there is one of it, for one. */
static bool wants_portal(const Json *params)
{
        const Json *want = json_get(params, "want");

        for (size_t i = 0; i < json_length(want); i++) {
                const char *s = json_string(json_item(want, i));

                if (s && streq(s, "portal"))
                        return true;
        }
        return false;
}

bool remember_request(Remember *r, Request *q, const Message *m)
{
        _cleanup_free_ char *owner = NULL;
        Call *call = q->call;
        uint64_t digest;
        Remembered *e;
        int k = 0;

        if (!m->key || !has_effect(m->method))
                return false;
        if (!remember_key_is_valid(m->key)) {
                call_fail(call, ERROR_INVALID_REQUEST, NULL,
                                "$.key: must be 1 to %d printable ASCII characters", REMEMBER_KEY_MAX);
                return true;
        }
        if (wants_portal(m->params)) {
                call_fail(call, ERROR_UNSUPPORTED, NULL,
                                "want: a portal can't be given again, so not under a key; ask for it by "
                                "actor.connect");
                return true;
        }
        owner = owner_of(q->peer);
        if (!owner || digest_of(m, &digest) < 0) {
                refuse(call, -ENOMEM);
                return true;
        }
        e = remember_table_get(&r->table, owner, m->key);
        if (e && (e->digest != digest || !streq(e->method, m->method)))
                call_fail(call, ERROR_INVALID_REQUEST, NULL,
                                "$.key: '%s' was given to another request (%s); each takes a key of its own",
                                m->key, e->method);
        else if (e && e->answered)
                answer_again(r, e, call);
        else if (e)
                k = asker_new(e->userdata, call);
        else {
                k = begin(r, q, owner, m, digest);
                if (k >= 0)
                        return false;
        }
        if (k < 0)
                refuse(call, k);
        return true;
}

int remember_restore(Remember *r, uint64_t record, const char *text, size_t n)
{
        _cleanup_json_ Json *error = NULL;
        Remembered *e;
        char *copy;
        int k = remember_record_read(&r->table, text, n, &e);

        if (k < 0)
                return k;
        e->record = record;
        if (e->answered)
                return 0;
        /* Without memory for more: done, without an answer that could be told. */
        (void) remember_unknown_outcome(e->method, &error);
        text = error ? json_print(error, &n) : NULL;
        copy = text ? strndup(text, n) : NULL;
        remember_table_answer(&r->table, e, copy, copy ? n : 0, true, e->usec);
        return 0;
}

int remember_new(Manager *m, Remember **ret)
{
        Remember *r = calloc(1, sizeof(Remember));

        if (!r)
                return -ENOMEM;
        r->manager = m;
        list_init(&r->errands);
        remember_table_init(&r->table, on_forget, r);
        *ret = r;
        return 0;
}

Remember *remember_free(Remember *r)
{
        if (!r)
                return NULL;
        while (!list_is_empty(&r->errands)) {
                Errand *errand = LIST_ENTRY(r->errands.next, Errand, queue);

                while (!list_is_empty(&errand->askers))
                        call_fail(asker_end(LIST_ENTRY(errand->askers.next, Asker, queue)),
                                        ERROR_ACTOR_STOPPED, NULL, "the supervisor ends");
                errand_abandon(errand);
        }
        remember_table_clear(&r->table);
        free(r);
        return NULL;
}
