/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A portal is a connection of one's own to another actor: what is said goes there directly, by no broker. Portals are counted; the last
 * unref closes the connection. Any task may use one, many at a time. An actor that dies is told at once: what is open fails with
 * -EOWNERDEAD and how it ended. A call whose task is cancelled is cancelled over there, and awaited. */

#include <tractor/macros.h>
#include <tractor/nursery.h>

TRACTOR_BEGIN_DECLS

typedef struct tractor_call_options {
        size_t size;
        /* From now; kept by the other side too: -ETIMEDOUT, up to 3 s later where that does not answer at all. 0: none. */
        uint64_t deadline_usec;
        const char *key; /* control requests: done once, however often it is sent; NULL: none */
} tractor_call_options;

/* Asks. `args` is an object or an array (consumed; NULL: none). `ret` may be NULL. */
int tractor_portal_call(
                tractor_portal *p, const char *method, struct json_object *args, struct json_object **ret);
int tractor_portal_call_with(tractor_portal *p, const char *method, struct json_object *args,
                const tractor_call_options *o, struct json_object **ret);
/* Tells: no answer. Waits while the other side takes no more; the `try` one answers -EAGAIN then, and is no checkpoint. */
int tractor_portal_tell(tractor_portal *p, const char *method, struct json_object *args);
int tractor_portal_try_tell(tractor_portal *p, const char *method, struct json_object *args);
/* The names that it exposes: an array. */
int tractor_portal_methods(tractor_portal *p, struct json_object **ret);
/* Cancels the actor itself, and waits until it is gone with all below. */
int tractor_portal_cancel_actor(tractor_portal *p, const char *reason);

const char *tractor_portal_path(const tractor_portal *p); /* NULL where nobody said */
const char *tractor_portal_id(const tractor_portal *p);   /* one a generation; NULL where nobody said */
pid_t tractor_portal_pid(const tractor_portal *p);        /* 0: unknown */
tractor_portal *tractor_portal_ref(tractor_portal *p);
tractor_portal *tractor_portal_unref(tractor_portal *p); /* NULL */

/* --- over any descriptors --- */
/* A portal to whoever speaks the protocol at the other end: a socket, or a pipe for each direction (the ends of an ssh, too). Consumes
 * both, on failure too; `out` may be the same as `in`. To a supervisor ("ssh HOST tractorctl bridge") it becomes one to the actor that
 * is named in a call of actor.attach. */
int tractor_portal_open_fds(int in, int out, tractor_portal **ret);
/* The other end: serves `methods` (NULL: the program's own) on it, from a task of `n`, until the peer leaves. */
struct tractor_method;
int tractor_serve_fds(tractor_nursery *n, int in, int out, const struct tractor_method *methods);

static inline void tractor_portal_unrefp(tractor_portal **p)
{
        *p = tractor_portal_unref(*p);
}

TRACTOR_END_DECLS
