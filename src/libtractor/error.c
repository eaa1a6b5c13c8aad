/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "libtractor/dump.h"
#include "libtractor/error-private.h"
#include "libtractor/task.h"

struct tractor_error {
        unsigned n_ref;
        int r; /* negative errno */
        Json *object;
        tractor_error **causes;
        size_t n_causes;
        void **frames; /* where it arose, not in words yet; NULL: they are in the object, or it has none */
        size_t n_frames;
};

/* Of the causes of a group the first ones keep theirs: the whole of it has to fit a line. */
#define GROUP_BACKTRACES 16U

/* What is told where there is no memory to tell it. Never freed. */
static tractor_error out_of_memory = { .n_ref = 1, .r = -ENOMEM };

static const struct {
        int code, r;
} codes[] = {
        { ERROR_CANCELLED, -EINTR },
        { ERROR_REMOTE, -EREMOTEIO },
        { ERROR_ACTOR_DIED, -EOWNERDEAD },
        { ERROR_ACTOR_STOPPED, -ESHUTDOWN },
        { ERROR_NO_SUCH_ACTOR, -ESRCH },
        { ERROR_MAILBOX_FULL, -EAGAIN },
        { ERROR_OVERRUN, -ENOBUFS },
        { ERROR_DEADLINE_EXCEEDED, -ETIMEDOUT },
        { ERROR_ALREADY_EXISTS, -EEXIST },
        { ERROR_PERMISSION_DENIED, -EACCES },
        { ERROR_UNSUPPORTED, -EOPNOTSUPP },
        { ERROR_LIMIT_EXCEEDED, -EDQUOT },
        { ERROR_SPAWN_FAILED, -ECHILD },
        { ERROR_GROUP, -ETOOMANYREFS },
        { ERROR_RESTART_LIMIT, -ELOOP },
        { ERROR_CONNECTION_LOST, -ECONNRESET },
        { ERROR_METHOD_NOT_FOUND, -ENOSYS },
        { ERROR_INVALID_PARAMS, -EINVAL },
        { ERROR_INVALID_REQUEST, -EPROTO },
        { ERROR_PARSE, -EBADMSG },
        { ERROR_INTERNAL, -ENOTRECOVERABLE },
};

int error_code_to_errno(int code)
{
        for (size_t i = 0; i < ELEMENTSOF(codes); i++)
                if (codes[i].code == code)
                        return codes[i].r;
        return -EREMOTEIO;
}

int error_errno_to_code(int r)
{
        for (size_t i = 0; i < ELEMENTSOF(codes); i++)
                if (codes[i].r == r)
                        return codes[i].code;
        return ERROR_REMOTE;
}

_public_ tractor_error *tractor_error_ref(const tractor_error *e)
{
        tractor_error *mine = (tractor_error *) e;

        if (mine)
                mine->n_ref++;
        return mine;
}

_public_ tractor_error *tractor_error_unref(tractor_error *e)
{
        if (!e || --e->n_ref > 0)
                return NULL;
        if (e == &out_of_memory) {
                e->n_ref = 1;
                return NULL;
        }
        for (size_t i = 0; i < e->n_causes; i++)
                tractor_error_unref(e->causes[i]);
        free(e->causes);
        free(e->frames);
        json_unref(e->object);
        free(e);
        return NULL;
}

static Json *data_of(const tractor_error *e)
{
        Json *data = json_get(e->object, "data");

        return json_type(data) == JSON_OBJECT ? data : NULL;
}

/* The members of `from` but one; a shallow copy, since what is shared is never changed. */
static int copy_members(Json *from, const char *but, Json **ret)
{
        _cleanup_json_ Json *copy = NULL;
        JsonIterator i = { 0 };

        if (json_pack(&copy, "{}") < 0)
                return -ENOMEM;
        while (from && json_next(from, &i))
                if (!streq(i.key, but) && json_set(copy, i.key, json_ref(i.value)) < 0)
                        return -ENOMEM;
        *ret = TAKE_PTR(copy);
        return 0;
}

/* --- where it arose --- */

/* In the running task, whose innermost function of interest goes on at `from`. Without memory it is not known. */
static tractor_error *note_frames(tractor_error *e, const void *from)
{
        void *frames[DUMP_FRAMES_MAX];
        size_t n = e ? task_stack(from, frames, ELEMENTSOF(frames)) : 0;

        if (n > 0)
                e->frames = calloc(n, sizeof(void *));
        if (n > 0 && e->frames) {
                memcpy(e->frames, frames, n * sizeof(void *));
                e->n_frames = n;
        }
        return e;
}

static int put_frame(Json *list, size_t i, void *frame)
{
        char where[DUMP_FRAME_SIZE], text[DUMP_FRAME_SIZE + 32];

        dump_frame(frame, where, sizeof(where));
        (void) snprintf(text, sizeof(text), "#%zu %s", i, where);
        return json_append(list, json_new_string(text, SIZE_MAX));
}

void error_name_frames(const tractor_error *ce)
{
        tractor_error *e = (tractor_error *) ce;
        _cleanup_free_ void **frames = e ? TAKE_PTR(e->frames) : NULL;
        size_t n = frames ? task_own_frames(frames, e->n_frames) : 0;
        _cleanup_json_ Json *list = NULL;

        if (n == 0 || json_pack(&list, "[]") < 0)
                return;
        for (size_t i = 0; i < n; i++)
                if (put_frame(list, i, frames[i]) < 0)
                        return;
        /* Nobody else has seen the object yet, who might rely on what is in it. */
        (void) json_set(data_of(e), "backtrace", TAKE_PTR(list));
}

/* The causes as errors of their own. The line they came in bounds how many and how deep. */
static int make_causes(tractor_error *e)
{
        Json *causes = json_get(data_of(e), "causes");
        size_t n = json_type(causes) == JSON_ARRAY ? json_length(causes) : 0;

        if (n == 0)
                return 0;
        e->causes = calloc(n, sizeof(*e->causes));
        if (!e->causes)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                e->causes[i] = error_from_json(json_item(causes, i));
                if (!e->causes[i])
                        return -ENOMEM;
                e->n_causes++;
        }
        return 0;
}

tractor_error *error_from_json(Json *object)
{
        _cleanup_(tractor_error_unrefp) tractor_error *e = calloc(1, sizeof(*e));
        int64_t code = json_get_integer(object, "code", ERROR_REMOTE);

        if (!e)
                return NULL;
        e->n_ref = 1;
        e->r = code >= INT32_MIN && code <= INT32_MAX ? error_code_to_errno((int) code) : -EREMOTEIO;
        e->object = json_ref(object);
        if (make_causes(e) < 0)
                return NULL;
        return TAKE_PTR(e);
}

static tractor_error *error_vnew(int code, const char *type, Json *data, const char *format, va_list ap)
{
        _cleanup_json_ Json *object = NULL, *owned = data;
        _cleanup_free_ char *text = NULL;

        if (vasprintf(&text, format, ap) < 0) {
                text = NULL;
                return NULL;
        }
        if (!owned && json_pack(&owned, "{}") < 0)
                return NULL;
        if (json_set(owned, "type", json_new_string(type ?: error_code_type(code), SIZE_MAX)) < 0)
                return NULL;
        if (json_pack(&object, "{code:i, message:s, data:O}", code, text, owned) < 0)
                return NULL;
        return error_from_json(object);
}

tractor_error *error_new(int code, const char *type, Json *data, const char *format, ...)
{
        tractor_error *e;
        va_list ap;

        va_start(ap, format);
        e = error_vnew(code, type, data, format, ap);
        va_end(ap);
        return e;
}

tractor_error *error_from_errno(int r, const char *where)
{
        const char *name = strerrorname_np(-r);
        int code = error_errno_to_code(r);
        tractor_error *e;
        Json *data = NULL;

        if (json_pack(&data, "{errno:i, actor:s?}", -r, runtime ? tractor_path() : NULL) < 0)
                return NULL;
        e = error_new(code, code == ERROR_REMOTE ? name : NULL, data, "%s%s%s", where ?: "",
                        where ? ": " : "", strerror(-r));
        if (e)
                e->r = r;
        return e;
}

tractor_error *error_as(tractor_error *e, int r)
{
        if (e)
                e->r = r;
        return e;
}

static int cause_to_json(const tractor_error *e, bool whole, Json **ret)
{
        _cleanup_json_ Json *object = NULL, *data = NULL;

        if (!e->object)
                return -ENOMEM;
        error_name_frames(e);
        if (whole || !json_has(data_of(e), "backtrace")) {
                *ret = json_ref(e->object);
                return 0;
        }
        if (copy_members(data_of(e), "backtrace", &data) < 0 ||
                        copy_members(e->object, "data", &object) < 0 ||
                        json_set(object, "data", TAKE_PTR(data)) < 0)
                return -ENOMEM;
        *ret = TAKE_PTR(object);
        return 0;
}

tractor_error *error_new_group(tractor_error *const *causes, size_t n, size_t n_all)
{
        _cleanup_json_ Json *list = NULL;
        Json *data = NULL, *cause = NULL;

        if (json_pack(&list, "[]") < 0)
                return NULL;
        for (size_t i = 0; i < n; i++)
                if (cause_to_json(causes[i], i < GROUP_BACKTRACES, &cause) < 0 ||
                                json_append(list, TAKE_PTR(cause)) < 0)
                        return NULL;
        if (json_pack(&data, "{causes:O, actor:s?}", list, tractor_path()) < 0)
                return NULL;
        return error_new(ERROR_GROUP, NULL, data, "%zu failures", n_all);
}

static int add_relay(Json *data, Json *before, const char *relay)
{
        _cleanup_json_ Json *paths = NULL;

        if (json_pack(&paths, "[]") < 0)
                return -ENOMEM;
        for (size_t i = 0; json_type(before) == JSON_ARRAY && i < json_length(before); i++)
                if (json_append(paths, json_ref(json_item(before, i))) < 0)
                        return -ENOMEM;
        if (json_append(paths, json_new_string(relay, SIZE_MAX)) < 0)
                return -ENOMEM;
        return json_set(data, "relay", TAKE_PTR(paths));
}

int error_to_json(const tractor_error *e, const char *relay, Json **ret)
{
        _cleanup_json_ Json *object = NULL, *data = NULL;

        if (!e->object)
                return -ENOMEM;
        error_name_frames(e);
        if (!relay) {
                *ret = json_ref(e->object);
                return 0;
        }
        if (copy_members(data_of(e), "relay", &data) < 0 ||
                        add_relay(data, json_get(data_of(e), "relay"), relay) < 0 ||
                        copy_members(e->object, "data", &object) < 0 ||
                        json_set(object, "data", TAKE_PTR(data)) < 0)
                return -ENOMEM;
        *ret = TAKE_PTR(object);
        return 0;
}

tractor_error *error_relayed(const tractor_error *e, const char *relay)
{
        _cleanup_json_ Json *object = NULL;
        tractor_error *copy;

        if (error_to_json(e, relay, &object) < 0)
                return NULL;
        copy = error_from_json(object);
        if (copy)
                copy->r = e->r;
        return copy;
}

int error_raise(tractor_error *e)
{
        Task *t = task_current();
        int r;

        if (!e)
                e = tractor_error_ref(&out_of_memory);
        r = e->r;
        if (!t) {
                tractor_error_unref(e);
                return r;
        }
        tractor_error_unref(t->error);
        t->error = e;
        return r;
}

void error_clear(void)
{
        Task *t = task_current();

        if (t)
                t->error = tractor_error_unref(t->error);
}

tractor_error *error_of_result(tractor_error *last, int r, const char *where)
{
        tractor_error *e;

        if (last && last->r == r)
                return tractor_error_ref(last);
        e = error_from_errno(r, where);
        return e ?: tractor_error_ref(&out_of_memory);
}

_public_ const tractor_error *tractor_last_error(void)
{
        Task *t = task_current();

        return t ? t->error : NULL;
}

_public_ int tractor_raise(tractor_error *e)
{
        return error_raise(e);
}

static int fail(const void *from, const char *type, Json *parameters, const char *format, va_list ap)
{
        Json *data = NULL;

        if (json_pack(&data, "{actor:s?, parameters:o?}", tractor_path(), parameters) < 0)
                return -ENOMEM;
        return error_raise(note_frames(error_vnew(ERROR_REMOTE, type, data, format, ap), from));
}

_public_ int(tractor_fail)(const char *type, const char *format, ...)
{
        va_list ap;
        int r;

        va_start(ap, format);
        r = fail(__builtin_return_address(0), type, NULL, format, ap);
        va_end(ap);
        return r;
}

_public_ int(tractor_fail_with)(const char *type, struct json_object *parameters, const char *format, ...)
{
        va_list ap;
        int r;

        va_start(ap, format);
        r = fail(__builtin_return_address(0), type, parameters, format, ap);
        va_end(ap);
        return r;
}

Json *error_object(const tractor_error *e)
{
        return e ? e->object : NULL;
}

_public_ int tractor_error_errno(const tractor_error *e)
{
        return e ? e->r : 0;
}

_public_ size_t tractor_error_n_causes(const tractor_error *e)
{
        return e ? e->n_causes : 0;
}

_public_ const tractor_error *tractor_error_cause(const tractor_error *e, size_t i)
{
        return e && i < e->n_causes ? e->causes[i] : NULL;
}
