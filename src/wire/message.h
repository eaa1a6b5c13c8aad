/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* JSON-RPC 2.0 envelopes with the one extra member "$" (docs/protocol.md §2). message_parse() classifies a line
 * and checks the envelope's shape; what the parameters mean is the layers' above. */

#include "wire/json.h"

#define MESSAGE_FDS_MAX 16

typedef enum MessageKind {
        MESSAGE_REQUEST,
        MESSAGE_NOTIFICATION,
        MESSAGE_RESULT,
        MESSAGE_ERROR,
} MessageKind;

/* What the peer did wrong; zero and above, to be handled in the layers below the supervisor. */
typedef enum MessageFault {
        MESSAGE_OK,
        MESSAGE_FAULT_PARSE,   /* -32700 */
        MESSAGE_FAULT_INVALID, /* -32600 */
} MessageFault;

typedef enum MessageOverrun {
        OVERRUN_WAIT,
        OVERRUN_ERROR,
        OVERRUN_DROP_OLDEST,
} MessageOverrun;

typedef struct Message {
        MessageKind kind;
        Json *root; /* owned; all below is borrowed from it */
        Json *id;   /* string or number, NULL for notifications; error responses may carry null */
        const char *method;
        Json *params; /* object, array or NULL */
        Json *result;
        Json *error;
        /* "$" */
        bool ctx, has_deadline;
        int64_t deadline_ms;
        int64_t credit; /* -1: not given */
        MessageOverrun overrun;
        const char *key, *if_id;
        unsigned n_fds;
} Message;

/* 0 with *ret_fault; -ENOMEM. On a fault *ret holds at most `id` and its root, where the line was surely meant as a
 * request, and *ret_why (may be NULL) names the trouble (a constant). Names and keys that hold a NUL are faults. */
int message_parse(const char *line, size_t n, const JsonLimits *limits, Message *ret,
                MessageFault *ret_fault, const char **ret_why);
void message_done(Message *m);
const char *message_overrun_to_string(MessageOverrun overrun);
bool message_overrun_from_string(const char *name, MessageOverrun *ret);

/* Builders: complete envelopes. `params`, `result`, `error` are consumed, on failure too; `id` is borrowed. */
int message_request(Json **ret, Json *id, const char *method, Json *params);
int message_notification(Json **ret, const char *method, Json *params);
/* A stream's item, as text at once: of all messages these come in the greatest numbers. All is borrowed. */
int message_next(char **ret, size_t *ret_n, Json *id, Json *value, uint64_t lost);
int message_result(Json **ret, Json *id, Json *result);
int message_error(Json **ret, Json *id, Json *error);
/* {"code", "message", "data": {"type", …data}}; `data` (object or NULL) is consumed. */
int message_error_object(Json **ret, int code, Json *data, const char *format, ...) _printf_(4, 5);
