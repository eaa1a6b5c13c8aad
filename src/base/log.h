/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Log lines on stderr with a <N> priority prefix when stderr is the journal, plain text otherwise. Only main
 * programs set the level and name; libraries never log above debug, and a function logs or returns, not both. */

#include <syslog.h>

#include "base/macro.h"

void log_setup(const char *name, int level);
/* From now on lines that would have to wait for whoever reads stderr are dropped and counted; the count goes out before
 * the next one that can. For daemons: a terminal that is held or a pager that is full must not stop them. */
void log_never_wait(void);
int log_level(void);
/* "debug" … "emerg" → level, or -EINVAL. */
int log_level_from_string(const char *s);
void log_full(int level, const char *format, ...) _printf_(2, 3);

#define log_debug(...) log_full(LOG_DEBUG, __VA_ARGS__)
#define log_info(...) log_full(LOG_INFO, __VA_ARGS__)
#define log_notice(...) log_full(LOG_NOTICE, __VA_ARGS__)
#define log_warning(...) log_full(LOG_WARNING, __VA_ARGS__)
#define log_error(...) log_full(LOG_ERR, __VA_ARGS__)
/* Logs "text: strerror" and gives the error back, so that a main program can `return log_errno(r, …)`. */
#define log_errno(r, format, ...)                                                                           \
        ({                                                                                                  \
                int _r = (r);                                                                               \
                log_full(LOG_ERR, format ": %s", ##__VA_ARGS__, strerror(_r < 0 ? -_r : _r));               \
                _r;                                                                                         \
        })
