/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/error.h"
#include "supervisor/remember-record.h"
#include "wire/message.h"

/* An answer was made here, or by an actor's hand within the wire's limits: deeper by the record's own level. */
static const JsonLimits record_limits = { .max_depth = 128 };

int remember_record_write(const Remembered *e, char **ret, size_t *ret_n)
{
        _cleanup_json_ Json *v = NULL, *answer = NULL;
        const char *text;
        char *copy;
        size_t n;
        int r;

        if (e->answer) {
                r = json_parse(e->answer, e->size, &record_limits, &answer, NULL);
                if (r < 0)
                        return r;
        }
        r = json_pack(&v,
                        "{owner:s, key:s, method:s, digest:I, usec:U, fds:b, answered:b, result:O?, "
                        "error:O?}",
                        e->owner, e->key, e->method, (int64_t) e->digest, e->usec, e->with_fds, e->answered,
                        e->is_error ? NULL : answer, e->is_error ? answer : NULL);
        if (r < 0)
                return r;
        text = json_print(v, &n);
        if (!text)
                return -ENOMEM;
        copy = strndup(text, n);
        if (!copy)
                return -ENOMEM;
        *ret = copy;
        *ret_n = n;
        return 0;
}

static int restore_answer(RememberTable *t, Remembered *e, Json *record)
{
        bool is_error = json_has(record, "error");
        Json *answer = json_get(record, is_error ? "error" : "result");
        const char *text = NULL;
        char *copy = NULL;
        size_t n = 0;

        if (answer) {
                text = json_print(answer, &n);
                copy = text ? strndup(text, n) : NULL;
                if (!copy)
                        return -ENOMEM;
        }
        remember_table_answer(t, e, copy, n, is_error, e->usec);
        return 0;
}

int remember_record_read(RememberTable *t, const char *text, size_t n, Remembered **ret)
{
        _cleanup_json_ Json *v = NULL;
        const char *owner, *key, *method;
        Remembered *e;
        int r;

        r = json_parse(text, n, &record_limits, &v, NULL);
        if (r < 0)
                return r;
        owner = json_get_string(v, "owner", NULL);
        key = json_get_string(v, "key", NULL);
        method = json_get_string(v, "method", NULL);
        if (!owner || !key || !method || strchr(owner, ' ') || !remember_key_is_valid(key))
                return -EBADMSG;
        r = remember_table_add(t, owner, key, method, (uint64_t) json_get_integer(v, "digest", 0),
                        (uint64_t) json_get_integer(v, "usec", 0), &e);
        if (r < 0)
                return r;
        e->with_fds = json_get_boolean(v, "fds", false);
        if (json_get_boolean(v, "answered", false))
                r = restore_answer(t, e, v);
        if (r < 0) {
                remember_table_drop(t, e);
                return r;
        }
        *ret = e;
        return 0;
}

int remember_unknown_outcome(const char *method, Json **ret)
{
        Json *data;
        int r = json_pack(&data, "{outcome:s, method:s}", "unknown", method);

        if (r < 0)
                return r;
        return message_error_object(ret, ERROR_CONNECTION_LOST, data,
                        "%s: the supervisor died over it: how far it had come is not known; its trees were "
                        "ended since",
                        method);
}
