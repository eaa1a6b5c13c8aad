/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Where the output of actors goes on a machine without a journal: a pipe a stream and generation, whose read ends the
 * logger has (logger/protocol.h), a process of its own that is started when the first actor needs it. It writes one
 * bounded file an actor; what waits for the disk is the logger, and the writers in their pipes, never our loop.
 *
 * We keep the read ends, too, so that a logger that dies costs no writer its pipe: a new one is started, with backoff,
 * and handed all that was not done. What the dead one had read and not written is lost. */

#include <sys/types.h>
#include <systemd/sd-event.h>

#include "base/macro.h"

typedef struct OutputDir OutputDir;
typedef struct OutputTail OutputTail;

/* Opens the folder (supervisor/output-folder.h). */
int output_dir_new(sd_event *event, const char *instance, OutputDir **ret);
/* Removes the folder when it is empty, or, when `remove`, with all that is in it. */
OutputDir *output_dir_free(OutputDir *d, bool remove);

/* The pipes of a generation, for stdout (ret_fds[0]) and stderr (ret_fds[1]) as `streams` (bits 0 and 1) says, else
 * -EBADF. The write ends are the caller's; they belong to `uid` unless that is -1, so that a program can open its
 * /dev/stdout. */
int output_open(OutputDir *d, uint64_t key, const char *actor_path, unsigned streams, uid_t uid,
                int ret_fds[static 2]);
/* The file that it goes to; the caller's. NULL: out of memory. */
char *output_path(const OutputDir *d, const char *actor_path);
/* Its main process has ended, or never was. Harmless for a key that has no pipes, or when repeated. */
void output_end(OutputDir *d, uint64_t key);
/* The same, and asks for its last words: at most `lines` lines and 8 KiB of its stderr, "" when there is none or it took
 * over 2 s. Calls back from the loop. -ENOENT: it has no pipe for stderr. */
int output_end_tail(OutputDir *d, uint64_t key, unsigned lines,
                void (*handler)(const char *text, void *userdata), void *userdata, OutputTail **ret);
OutputTail *output_tail_free(OutputTail *t); /* cancels: no call back */

/* Nothing more will be opened: ends the logger when it has written all. True when `done` will be called, within a
 * second whatever the disk does. */
bool output_dir_finish(OutputDir *d, void (*done)(void *userdata), void *userdata);
/* 0: none runs. For tests. */
pid_t output_dir_logger(const OutputDir *d);
