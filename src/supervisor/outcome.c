/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/error.h"
#include "supervisor/outcome.h"
#include "wire/message.h"

void outcome_drop(Member *member)
{
        member->manager->outcome_bytes -= member->outcome.size;
        free(member->outcome.text);
        member->outcome.text = NULL;
        member->outcome.size = 0;
}

void outcome_reset(Member *member)
{
        outcome_drop(member);
        member->outcome.said = false;
}

/* Takes `value`. -EDQUOT: there is no room for it. */
static int keep(Member *member, Json *value, bool is_error)
{
        _cleanup_json_ Json *v = value;
        Outcome *o = &member->outcome;
        const char *text = "null";
        size_t n = strlen("null");

        if (v)
                text = json_print(v, &n);
        if (text && n > OUTCOMES_MAX - MIN(member->manager->outcome_bytes, OUTCOMES_MAX))
                return -EDQUOT;
        o->text = text ? strndup(text, n) : NULL;
        if (!o->text)
                return -ENOMEM;
        o->size = n;
        o->is_error = is_error;
        member->manager->outcome_bytes += n;
        return 0;
}

void outcome_refuse(Member *member, const char *why)
{
        Json *error = NULL, *data = NULL;

        outcome_drop(member);
        (void) json_pack(&data, "{actor:s}", member->node->path);
        if (message_error_object(&error, ERROR_LIMIT_EXCEEDED, data, "%s has ended with more to say than %s",
                            member->node->path, why) < 0)
                return;
        /* Some hundred bytes each, of as many as there are actors: these are not held to the bound. */
        if (keep(member, json_ref(error), true) == -EDQUOT) {
                size_t n = 0;
                const char *text = json_print(error, &n);

                member->outcome.text = text ? strndup(text, n) : NULL;
                member->outcome.is_error = true;
        }
        json_unref(error);
}

/* An error in the protocol's form: what is none is still an end in error. */
static int error_of(const Member *member, const Json *params, Json **ret)
{
        const char *message = json_get_string(params, "message", NULL);
        const Json *code = json_get(params, "code");

        if (json_type(code) != JSON_INTEGER || !message)
                return message_error_object(ret, ERROR_INTERNAL, NULL,
                                "%s said $/error without an integer `code` and a `message`",
                                member->node->path);
        return json_pack(ret, "{code:I, message:s, data:O?}", json_integer(code), message,
                        json_get(params, "data"));
}

void outcome_say(Member *member, const Json *params, bool is_error)
{
        Json *value = NULL;
        int r = 0;

        if (member->outcome.said || !member->node->parent->spec.stays)
                return;
        member->outcome.said = true;
        if (is_error)
                r = error_of(member, params, &value);
        else
                value = json_ref(json_get(params, "value"));
        if (r >= 0)
                r = keep(member, value, is_error);
        if (r < 0)
                outcome_refuse(member, r == -EDQUOT ? "the supervisor keeps of all actors at a time (32 MiB)"
                                                    : "there is memory for");
}

int outcome_add(const Member *member, Json *told)
{
        /* It comes to stand two levels deep in a line, of which 64 are taken. */
        static const JsonLimits limits = { .max_depth = 62 };
        const Outcome *o = &member->outcome;
        Json *value = NULL;
        int r;

        if (!o->text)
                return 0;
        r = json_parse(o->text, strlen(o->text), &limits, &value, NULL);
        return r < 0 ? r : json_set(told, o->is_error ? "error" : "result", value);
}
