/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

static const struct {
        int code;
        const char *type;
} types[] = {
        { ERROR_PARSE, "ParseError" },
        { ERROR_INVALID_REQUEST, "InvalidRequest" },
        { ERROR_METHOD_NOT_FOUND, "MethodNotFound" },
        { ERROR_INVALID_PARAMS, "InvalidParams" },
        { ERROR_INTERNAL, "InternalError" },
        { ERROR_CANCELLED, "Cancelled" },
        { ERROR_REMOTE, "RemoteError" },
        { ERROR_ACTOR_STOPPED, "ActorStopped" },
        { ERROR_ACTOR_DIED, "ActorDied" },
        { ERROR_NO_SUCH_ACTOR, "NoSuchActor" },
        { ERROR_MAILBOX_FULL, "MailboxFull" },
        { ERROR_OVERRUN, "Overrun" },
        { ERROR_DEADLINE_EXCEEDED, "DeadlineExceeded" },
        { ERROR_ALREADY_EXISTS, "AlreadyExists" },
        { ERROR_PERMISSION_DENIED, "PermissionDenied" },
        { ERROR_UNSUPPORTED, "Unsupported" },
        { ERROR_LIMIT_EXCEEDED, "LimitExceeded" },
        { ERROR_SPAWN_FAILED, "SpawnFailed" },
        { ERROR_GROUP, "ErrorGroup" },
        { ERROR_RESTART_LIMIT, "RestartLimit" },
        { ERROR_CONNECTION_LOST, "ConnectionLost" },
};

const char *error_code_type(int code)
{
        for (size_t i = 0; i < ELEMENTSOF(types); i++)
                if (types[i].code == code)
                        return types[i].type;
        return "InternalError";
}
