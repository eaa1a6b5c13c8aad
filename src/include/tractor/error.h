/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Errors that say who and why. Every call fails with a negative errno; what is more to be said is kept for the task that
 * made the call, one error at a time, as errno is: tractor_last_error() has it until the task's next failure. A handler or a task
 * that returns the errno of its last error passes the whole error on, over processes too, and each hop adds itself to
 * the error's relay. So `if (r < 0) return r;` loses nothing.
 *
 *   errno          protocol's type      when
 *   ECANCELED      -                    the task's own cancel scope was cancelled: return, it is dealt with at the scope
 *   EINTR          Cancelled            what was called was cancelled by somebody: tractor_error_canceller() says by whom
 *   EREMOTEIO      RemoteError          the handler at the other side failed; tractor_error_type() is its own name for it
 *   EOWNERDEAD     ActorDied            tractor_error_exit() says how
 *   ESHUTDOWN      ActorStopped         asked while it stopped, or before it started
 *   ESRCH          NoSuchActor          EEXIST: AlreadyExists       EACCES: PermissionDenied     ENOSYS: MethodNotFound
 *   ETIMEDOUT      DeadlineExceeded     ENOBUFS: Overrun            EAGAIN: MailboxFull          EOPNOTSUPP: Unsupported
 *   EDQUOT         LimitExceeded        ECHILD: SpawnFailed         ELOOP: RestartLimit          ECONNRESET: ConnectionLost
 *   EPROTO         InvalidRequest       EBADMSG: ParseError         EINVAL: InvalidParams        ENOTRECOVERABLE: InternalError
 *   EBADF          -                    another task has closed or freed what the call was waiting at
 *   ETOOMANYREFS   ErrorGroup           several tasks or actors of a nursery failed: tractor_error_cause() */

#include <tractor/macros.h>

TRACTOR_BEGIN_DECLS

typedef struct tractor_error tractor_error;

/* What the calling task's last failure had to say beyond its errno: borrowed, until the task's next call that may fail so. NULL: nothing. */
const tractor_error *tractor_last_error(void);
/* A reference of one's own, to be kept longer. tractor_error_unref() returns NULL and takes NULL. */
tractor_error *tractor_error_ref(const tractor_error *e);
tractor_error *tractor_error_unref(tractor_error *e);

/* Fails with an error of one's own: sets the task's last error and returns its errno (-EREMOTEIO). `type` is a name for
 * programs ("OutOfStock"), the text is for people. `return tractor_fail("OutOfStock", "no %s left", what);` Where the task stood then is
 * the error's backtrace, which is put into words only when it is asked for, or sent. */
int tractor_fail(const char *type, const char *format, ...) TRACTOR_PRINTF(2, 3);
/* The same with `parameters` (consumed), which arrive in tractor_error_parameters(). */
int tractor_fail_with(const char *type, struct json_object *parameters, const char *format, ...)
                TRACTOR_PRINTF(3, 4);
/* A call that is the last thing a function does may leave that one's frame before, and then it would not be in the backtrace. */
static inline int tractor_failed_here(int r)
{
        __asm__ volatile("");
        return r;
}
#define tractor_fail(...) tractor_failed_here((tractor_fail) (__VA_ARGS__))
#define tractor_fail_with(...) tractor_failed_here((tractor_fail_with) (__VA_ARGS__))
/* Makes an error that was kept the last one again (consumes it) and returns its errno. */
int tractor_raise(tractor_error *e);

int tractor_error_errno(const tractor_error *e);             /* negative */
int tractor_error_code(const tractor_error *e);              /* of protocol tractor/1: -32003 … */
const char *tractor_error_type(const tractor_error *e);      /* "ActorDied", or a handler's own */
const char *tractor_error_message(const tractor_error *e);   /* for people; never NULL */
const char *tractor_error_actor(const tractor_error *e);     /* path of where it arose, or NULL */
const char *tractor_error_canceller(const tractor_error *e); /* path, or NULL */
/* How a process ended, {cause, code or signal, pid, …}; borrowed, NULL if this is not about an end. */
struct json_object *tractor_error_exit(const tractor_error *e);
struct json_object *tractor_error_parameters(const tractor_error *e); /* borrowed, may be NULL */
size_t tractor_error_n_backtrace(const tractor_error *e);
const char *tractor_error_backtrace(
                const tractor_error *e, size_t i); /* frame i of where it arose, innermost first */
size_t tractor_error_n_relay(const tractor_error *e);
const char *tractor_error_relay(const tractor_error *e,
                size_t i); /* paths of the actors it has left, the one it arose in first */
size_t tractor_error_n_causes(const tractor_error *e);
const tractor_error *tractor_error_cause(const tractor_error *e, size_t i); /* borrowed */
/* All of it as lines for people, causes indented; the caller frees. NULL: out of memory, or of NULL. */
char *tractor_error_format(const tractor_error *e);

static inline void tractor_error_unrefp(tractor_error **e)
{
        *e = tractor_error_unref(*e);
}

TRACTOR_END_DECLS
