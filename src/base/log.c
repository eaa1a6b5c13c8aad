/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/log.h"

static const char *log_name = "tractor";
static int max_level = LOG_INFO;
static int to_journal = -1;

void log_setup(const char *name, int level)
{
        log_name = name;
        max_level = level;
        to_journal = getenv("JOURNAL_STREAM") != NULL;
}

int log_level(void)
{
        return max_level;
}

int log_level_from_string(const char *s)
{
        static const char *const names[] = { "emerg", "alert", "crit", "err", "warning", "notice", "info",
                "debug" };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (streq(s, names[i]))
                        return (int) i;
        return streq(s, "error") ? LOG_ERR : -EINVAL;
}

void log_full(int level, const char *format, ...)
{
        char line[2048];
        int saved = errno, n, k;
        va_list ap;

        if (level > max_level)
                return;
        if (to_journal > 0)
                n = snprintf(line, sizeof(line), "<%d>", level);
        else
                n = snprintf(line, sizeof(line), "%s: ", log_name);
        errno = saved;
        va_start(ap, format);
        k = vsnprintf(line + n, sizeof(line) - (size_t) n - 1, format, ap);
        va_end(ap);
        n = MIN(n + MAX(k, 0), (int) sizeof(line) - 2);
        line[n++] = '\n';
        if (write(STDERR_FILENO, line, (size_t) n) < 0) {
                /* nowhere left to say so */
        }
        errno = saved;
}
