/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The conversation of the supervisor and its logger: fixed structs on a SOCK_SEQPACKET pair. A key is one generation
 * of one actor, by the keeper's number.
 *
 *      supervisor                                 logger
 *      STREAMS(key, name) + read ends  ──▶        what comes out of them goes to the file of that name
 *                                      ◀──        FULL(key): no descriptor free: ask again later
 *      END(key, lines)                 ──▶        its main process has ended: what is in the pipes is taken at once
 *                                      ◀──        TEXT(key): when lines > 0, the last ones of stderr
 *                                      ◀──        DONE(key): both at their end, all is written, END was said
 *
 * The supervisor keeps the read ends as well until DONE, so that a logger that dies costs no writer its pipe, and hands
 * all that is not done to the next one. At the socket's end the logger takes what still comes until all pipes are at
 * theirs, or LOGGER_DRAIN_USEC have passed, and ends.
 *
 * Files: "shop+api.log" for /shop/api, the newest, and "shop+api.log.1", what was before. See cri.h for their lines. */

#include "base/macro.h"

#define LOGGER_VERSION 1
#define LOGGER_FD 3     /* where the logger finds its end */
#define LOGGER_DIR_FD 4 /* and the folder */
#define LOGGER_NAME_MAX 247
#define LOGGER_TEXT_MAX (8U * 1024)
#define LOGGER_DRAIN_USEC (2U * 1000 * 1000)

/* Never passed: a file is renamed before it would, over the one before, so that an actor has at most twice this. */
#define LOGGER_FILE_MAX (2U * 1024 * 1024)
/* Of all files in the folder. The oldest that nobody writes to go first; without any, what is written is dropped. */
#define LOGGER_TOTAL_MAX (1024U * 1024 * 1024)
/* Past this number, too, the oldest that nobody writes to go. */
#define LOGGER_FILES_MAX 4096U

typedef enum LoggerMessageType {
        LOGGER_STREAMS = 1,
        LOGGER_END,

        LOGGER_TEXT = 128,
        LOGGER_DONE,
        LOGGER_FULL,
} LoggerMessageType;

/* The streams of STREAMS, and the order of their descriptors. */
enum { LOGGER_STDOUT, LOGGER_STDERR, _LOGGER_STREAMS };

typedef struct LoggerRequest {
        uint32_t version; /* a package may be renewed under a supervisor that runs: another one is refused */
        uint32_t type;
        uint64_t key;
        uint32_t streams, lines; /* streams: bit LOGGER_STDOUT, bit LOGGER_STDERR */
        char name[LOGGER_NAME_MAX + 1];
} LoggerRequest;

typedef struct LoggerAnswer {
        uint64_t key;
        uint32_t type, size; /* of the text */
        char text[LOGGER_TEXT_MAX];
} LoggerAnswer;
