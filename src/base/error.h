/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The error codes of protocol tractor/1 (docs/protocol.md §4). Inside, a negative errno is our own fault and
 * travels unchanged; these numbers are made only at the edges: wire reply, command line, journal. */

#include "base/macro.h"

typedef enum ErrorCode {
        ERROR_PARSE = -32700,
        ERROR_INVALID_REQUEST = -32600,
        ERROR_METHOD_NOT_FOUND = -32601,
        ERROR_INVALID_PARAMS = -32602,
        ERROR_INTERNAL = -32603,
        ERROR_CANCELLED = -32800,
        ERROR_REMOTE = -32001,
        ERROR_ACTOR_STOPPED = -32002,
        ERROR_ACTOR_DIED = -32003,
        ERROR_NO_SUCH_ACTOR = -32004,
        ERROR_MAILBOX_FULL = -32005,
        ERROR_OVERRUN = -32006,
        ERROR_DEADLINE_EXCEEDED = -32007,
        ERROR_ALREADY_EXISTS = -32008,
        ERROR_PERMISSION_DENIED = -32009,
        ERROR_UNSUPPORTED = -32010,
        ERROR_LIMIT_EXCEEDED = -32011,
        ERROR_SPAWN_FAILED = -32012,
        ERROR_GROUP = -32013,
        ERROR_RESTART_LIMIT = -32014,
        ERROR_CONNECTION_LOST = -32015,
} ErrorCode;

/* The `data.type` that belongs to a code: "NoSuchActor", "Unsupported" …; "InternalError" for an unknown one. */
const char *error_code_type(int code);
