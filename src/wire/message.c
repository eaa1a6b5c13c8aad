/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/error.h"
#include "wire/message.h"

static bool is_id(const Json *v)
{
        JsonType t = json_type(v);

        return t == JSON_STRING || t == JSON_INTEGER || t == JSON_DOUBLE;
}

/* Absent or a string that a C string shows in full. */
static bool take_string(const Json *object, const char *key, const char **ret)
{
        *ret = json_get_string(object, key, NULL);
        return *ret || !json_has(object, key);
}

/* Absent or an integer of 0 to max. */
static bool take_integer(const Json *object, const char *key, int64_t max, int64_t *ret)
{
        const Json *v = json_get(object, key);

        if (!json_has(object, key))
                return true;
        if (json_type(v) != JSON_INTEGER || json_integer(v) < 0 || json_integer(v) > max)
                return false;
        *ret = json_integer(v);
        return true;
}

static const char *const overrun_names[] = {
        [OVERRUN_WAIT] = "wait", [OVERRUN_ERROR] = "error", [OVERRUN_DROP_OLDEST] = "drop_oldest"
};

const char *message_overrun_to_string(MessageOverrun overrun)
{
        return overrun_names[overrun];
}

bool message_overrun_from_string(const char *name, MessageOverrun *ret)
{
        for (size_t i = 0; i < ELEMENTSOF(overrun_names); i++)
                if (streq(name, overrun_names[i])) {
                        *ret = (MessageOverrun) i;
                        return true;
                }
        return false;
}

static bool take_overrun(const Json *extra, MessageOverrun *ret)
{
        const char *name;

        if (!take_string(extra, "overrun", &name))
                return false;
        return !name || message_overrun_from_string(name, ret);
}

static const char *read_extra(Message *m)
{
        const Json *extra = json_get(m->root, "$");
        int64_t n_fds = 0;

        m->credit = m->deadline_ms = -1;
        if (!json_has(m->root, "$"))
                return NULL;
        if (json_type(extra) != JSON_OBJECT)
                return "\"$\" is not an object";
        if (json_has(extra, "ctx") && json_type(json_get(extra, "ctx")) != JSON_BOOLEAN)
                return "$.ctx is not a boolean";
        m->ctx = json_boolean(json_get(extra, "ctx"));
        if (!take_integer(extra, "deadline_ms", INT64_MAX, &m->deadline_ms))
                return "$.deadline_ms is not a number of milliseconds";
        m->has_deadline = m->deadline_ms >= 0;
        if (!take_integer(extra, "credit", UINT32_MAX, &m->credit))
                return "$.credit is not a number of items";
        if (!take_overrun(extra, &m->overrun))
                return "$.overrun is none of wait, error, drop_oldest";
        if (!take_string(extra, "key", &m->key))
                return "$.key is not a string";
        if (!take_string(extra, "if_id", &m->if_id))
                return "$.if_id is not a string";
        if (!take_integer(extra, "fds", MESSAGE_FDS_MAX, &n_fds))
                return "$.fds is not a number from 0 to 16";
        m->n_fds = (unsigned) n_fds;
        return NULL;
}

static const char *read_call(Message *m)
{
        m->kind = json_has(m->root, "id") ? MESSAGE_REQUEST : MESSAGE_NOTIFICATION;
        m->method = json_get_string(m->root, "method", "");
        if (!*m->method)
                return "method is not a name";
        if (m->kind == MESSAGE_REQUEST && !is_id(m->id))
                return "id is neither a string nor a number";
        if (json_has(m->root, "params") && json_type(m->params) != JSON_OBJECT &&
                        json_type(m->params) != JSON_ARRAY)
                return "params is neither an object nor an array";
        return NULL;
}

static const char *read_response(Message *m)
{
        bool result = json_has(m->root, "result"), error = json_has(m->root, "error");
        const Json *text = json_get(m->error, "message");

        if (result == error)
                return result ? "both result and error" : "neither request, notification nor response";
        m->kind = result ? MESSAGE_RESULT : MESSAGE_ERROR;
        if (!is_id(m->id) && !(error && !m->id && json_has(m->root, "id")))
                return "a response without a valid id";
        if (result)
                return NULL;
        if (json_type(json_get(m->error, "code")) != JSON_INTEGER || json_type(text) != JSON_STRING)
                return "error is not an error object";
        return NULL;
}

static const char *read_envelope(Message *m)
{
        const char *why;
        bool call, response;

        if (json_type(m->root) != JSON_OBJECT)
                return "not an object";
        m->id = json_get(m->root, "id");
        m->params = json_get(m->root, "params");
        m->result = json_get(m->root, "result");
        m->error = json_get(m->root, "error");
        if (!streq(json_get_string(m->root, "jsonrpc", ""), "2.0"))
                return "jsonrpc is not \"2.0\"";
        call = json_has(m->root, "method");
        response = json_has(m->root, "result") || json_has(m->root, "error");
        if (call && response)
                return "both a call and a response";
        why = call ? read_call(m) : read_response(m);
        return why ?: read_extra(m);
}

/* What is left of a bad message: the id, if it is sure that its sender waits for an answer under it. */
static void keep_id(Message *m)
{
        bool answerable = json_has(m->root, "method") && is_id(m->id) && !json_has(m->root, "result") &&
                          !json_has(m->root, "error");

        if (answerable)
                *m = (Message){ .root = m->root, .id = m->id };
        else
                message_done(m);
}

int message_parse(const char *line, size_t n, const JsonLimits *limits, Message *ret,
                MessageFault *ret_fault, const char **ret_why)
{
        JsonError error = { 0 };
        Message m = { 0 };
        const char *why;
        int r;

        r = json_parse(line, n, limits, &m.root, &error);
        if (r < 0 && r != -EBADMSG)
                return r;
        if (r < 0) {
                *ret_fault = MESSAGE_FAULT_PARSE;
                why = error.message;
        } else {
                why = read_envelope(&m);
                *ret_fault = why ? MESSAGE_FAULT_INVALID : MESSAGE_OK;
                if (why)
                        keep_id(&m);
        }
        if (ret_why)
                *ret_why = why;
        *ret = m;
        return 0;
}

void message_done(Message *m)
{
        json_unref(m->root);
        *m = (Message){ 0 };
}

int message_request(Json **ret, Json *id, const char *method, Json *params)
{
        return json_pack(ret, "{jsonrpc:s, id:O, method:s, params:o?}", "2.0", id, method, params);
}

int message_notification(Json **ret, const char *method, Json *params)
{
        return json_pack(ret, "{jsonrpc:s, method:s, params:o?}", "2.0", method, params);
}

int message_next(char **ret, size_t *ret_n, Json *id, Json *value, uint64_t lost)
{
        JsonText t = { .depth = 2, .n_values = lost > 0 ? 5 : 4 };
        char number[24];

        json_text_put(&t, "{\"jsonrpc\":\"2.0\",\"method\":\"$/next\",\"params\":{\"id\":");
        json_text_value(&t, id);
        json_text_put(&t, ",\"value\":");
        json_text_value(&t, value);
        if (lost > 0) {
                (void) snprintf(number, sizeof(number), "%" PRIu64, MIN(lost, (uint64_t) INT64_MAX));
                json_text_put(&t, ",\"lost\":");
                json_text_put(&t, number);
        }
        json_text_put(&t, "}}");
        if (t.failed || t.unfit) {
                free(t.text);
                return t.unfit ? -EBADMSG : -ENOMEM;
        }
        *ret = t.text;
        *ret_n = t.n;
        return 0;
}

int message_result(Json **ret, Json *id, Json *result)
{
        return json_pack(ret, "{jsonrpc:s, id:O, result:o}", "2.0", id, result);
}

int message_error(Json **ret, Json *id, Json *error)
{
        return json_pack(ret, "{jsonrpc:s, id:O, error:o}", "2.0", id, error);
}

/* "type" comes first, for people who read it; a type in `extra` (a handler's own) stands. */
static int merge_data(int code, const Json *extra, Json **ret)
{
        _cleanup_json_ Json *data = NULL;
        int r;

        r = json_pack(&data, "{type:s}", error_code_type(code));
        if (r < 0)
                return r;
        for (JsonIterator i = { 0 }; json_next(extra, &i);) {
                r = json_set(data, i.key, json_ref(i.value));
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(data);
        return 0;
}

int message_error_object(Json **ret, int code, Json *data, const char *format, ...)
{
        _cleanup_json_ Json *given = data;
        _cleanup_free_ char *text = NULL;
        Json *merged = NULL;
        va_list ap;
        int r;

        va_start(ap, format);
        r = vasprintf(&text, format, ap);
        va_end(ap);
        if (r < 0) {
                text = NULL;
                return -ENOMEM;
        }
        r = merge_data(code, given, &merged);
        if (r < 0)
                return r;
        return json_pack(ret, "{code:i, message:s, data:o}", code, text, merged);
}
