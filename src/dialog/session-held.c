/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/error.h"
#include "base/io.h"
#include "base/usec.h"
#include "dialog/session-internal.h"

/* What waits until the peer has said hello, with all that came after it; or until it is known that it says none: then what a plain
 * peer understands goes as that, and the rest is refused. */

int session_post(Session *s, Json *v, bool needs_hello)
{
        if (!s->hello_due || (!needs_hello && s->n_held == 0))
                return session_send(s, v, NULL, 0);
        if (GROW(s->held, s->held_size, s->n_held + 1) < 0) {
                json_unref(v);
                return -ENOMEM;
        }
        s->held[s->n_held++] = v;
        return 0;
}

bool session_drop_held(Session *s, int64_t id)
{
        for (size_t i = 0; i < s->n_held; i++) {
                if (json_get_integer(s->held[i], "id", 0) != id)
                        continue;
                json_unref(s->held[i]);
                memmove(s->held + i, s->held + i + 1, (--s->n_held - i) * sizeof(*s->held));
                return true;
        }
        return false;
}

/* Telling that it can't be sent may end the session. Consumes `v`. */
static void send_held(Session *s, Json *v)
{
        _cleanup_json_ Json *held = v;
        int r = session_send(s, json_ref(held), NULL, 0);

        if (r == -EMSGSIZE)
                session_refuse_held(s, held, ERROR_LIMIT_EXCEEDED,
                                "the request is longer than the peer's max_line");
        else if (r == -EBADMSG)
                session_refuse_held(s, held, ERROR_INVALID_PARAMS, SESSION_UNFIT);
        else if (r < 0)
                session_broken(s, r);
}

/* Either end of the waiting; whoever has a deadline was held. */
static Json **take_held(Session *s, size_t *ret_n)
{
        *ret_n = s->n_held;
        s->hello_due = false;
        s->n_held = s->held_size = 0;
        LIST_FOREACH(i, &s->pending_list) {
                Pending *p = LIST_ENTRY(i, Pending, node);

                p->deadline = usec_add(p->deadline, SESSION_GRACE_MS * USEC_PER_MSEC);
        }
        return TAKE_PTR(s->held);
}

void session_release_held(Session *s)
{
        size_t n;
        Json **held = take_held(s, &n);

        for (size_t i = 0; i < n; i++)
                send_held(s, held[i]);
        free(held);
}

/* A deadline alone is kept here as well. */
static bool is_plain(const Json *v)
{
        Json *extra = json_get(v, "$");

        if (!json_has(v, "id"))
                return !startswith(json_get_string(v, "method", ""), "$/");
        return !extra || (json_length(extra) == 1 && json_has(extra, "deadline_ms"));
}

/* Consumes `v`. */
static void send_plainly(Session *s, Json *v)
{
        _cleanup_json_ Json *held = v;
        Json *params = json_get(held, "params"), *plain = NULL;
        int r;

        if (!json_has(held, "$")) {
                send_held(s, TAKE_PTR(held));
                return;
        }
        r = message_request(&plain, json_get(held, "id"), json_get_string(held, "method", ""),
                        params ? json_ref(params) : NULL);
        if (r < 0)
                session_broken(s, r);
        else
                send_held(s, plain);
}

void session_give_up_hello(Session *s)
{
        size_t n;
        Json **held;

        session_pin(s);
        held = take_held(s, &n);
        for (size_t i = 0; i < n; i++) {
                _cleanup_json_ Json *v = held[i];

                if (s->freed)
                        continue;
                if (is_plain(v) && !session_is_cancelled(s, v))
                        send_plainly(s, TAKE_PTR(v));
                else
                        session_refuse_held(s, v, ERROR_UNSUPPORTED,
                                        "the peer has said no hello: it takes calls, and nothing else");
        }
        free(held);
        session_unpin(s);
}
