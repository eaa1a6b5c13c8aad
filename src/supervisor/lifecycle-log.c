/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "base/log.h"
#include "base/usec.h"
#include "supervisor/config.h"
#include "supervisor/lifecycle-log.h"
#include "tractor/messages.h"
#include "wire/scan.h"

#define LAST_WORDS_MAX 200
#define DURATION_SIZE 48
/* The fields have them all; without a journal there is only the message. */
#define MESSAGE_FRAMES 1U
#define MESSAGE_FRAMES_ALONE 32U

static const struct {
        const char *name, *id, *sentence;
        int priority;
} kinds[_LIFECYCLE_MAX] = {
        [LIFECYCLE_STARTED] = { "started", TRACTOR_MESSAGE_STARTED, "started", LOG_INFO },
        [LIFECYCLE_READY] = { "ready", TRACTOR_MESSAGE_READY, "ready", LOG_INFO },
        [LIFECYCLE_EXITED] = { "exited", TRACTOR_MESSAGE_EXITED, "ended", LOG_INFO },
        [LIFECYCLE_CRASHED] = { "crashed", TRACTOR_MESSAGE_CRASHED, "ended", LOG_WARNING },
        [LIFECYCLE_RESTARTING] = { "restarting", TRACTOR_MESSAGE_RESTARTING, "waits for its restart",
                        LOG_NOTICE },
        [LIFECYCLE_GAVE_UP] = { "gave-up", TRACTOR_MESSAGE_GAVE_UP, "gave up: too many restarts", LOG_ERR },
        [LIFECYCLE_STOPPED] = { "stopped", TRACTOR_MESSAGE_STOPPED, "stopped", LOG_INFO },
        [LIFECYCLE_FAILED] = { "failed", TRACTOR_MESSAGE_FAILED, "failed", LOG_ERR },
        [LIFECYCLE_TREE_LOADED] = { "tree-loaded", TRACTOR_MESSAGE_TREE_LOADED, "loaded", LOG_NOTICE },
        [LIFECYCLE_TREE_UNLOADED] = { "tree-unloaded", TRACTOR_MESSAGE_TREE_UNLOADED, "unloaded",
                        LOG_NOTICE },
        [LIFECYCLE_SUPERVISOR_STARTED] = { "supervisor-started", TRACTOR_MESSAGE_SUPERVISOR_STARTED,
                        "the supervisor serves", LOG_INFO },
        [LIFECYCLE_SUPERVISOR_LOST] = { "supervisor-lost", TRACTOR_MESSAGE_SUPERVISOR_LOST,
                        "the supervisor before this one ended unasked", LOG_WARNING },
        [LIFECYCLE_LIMIT_CHANGED] = { "limit-changed", TRACTOR_MESSAGE_LIMIT_CHANGED, "limits changed",
                        LOG_NOTICE },
        [LIFECYCLE_OOM_KILL] = { "oom-kill", TRACTOR_MESSAGE_OOM_KILL,
                        "lost a process for want of memory, not its main process", LOG_WARNING },
};

const char *lifecycle_kind_to_string(LifecycleKind k)
{
        return (size_t) k < _LIFECYCLE_MAX ? kinds[k].name : NULL;
}

const char *lifecycle_message_id(LifecycleKind k)
{
        return (size_t) k < _LIFECYCLE_MAX ? kinds[k].id : NULL;
}

/* Two units at most: "3.2 s", "5 min 3 s". */
static const char *duration(uint64_t usec, char buf[static DURATION_SIZE])
{
        unsigned long long s = usec / USEC_PER_SEC;

        if (usec < USEC_PER_SEC)
                (void) snprintf(buf, DURATION_SIZE, "%llu ms", (unsigned long long) (usec / USEC_PER_MSEC));
        else if (s < 60)
                (void) snprintf(buf, DURATION_SIZE, "%llu.%llu s", s,
                                (unsigned long long) (usec % USEC_PER_SEC / 100000));
        else if (s < 3600)
                (void) snprintf(buf, DURATION_SIZE, "%llu min %llu s", s / 60, s % 60);
        else if (s < 86400)
                (void) snprintf(buf, DURATION_SIZE, "%llu h %llu min", s / 3600, s / 60 % 60);
        else
                (void) snprintf(buf, DURATION_SIZE, "%llu d %llu h", s / 86400, s / 3600 % 24);
        return buf;
}

/* The last line that says something, fit for a terminal. */
static size_t last_words(const char *tail, char buf[static LAST_WORDS_MAX + 1])
{
        const char *end = tail + strlen(tail), *line;
        size_t n = 0;

        while (end > tail && (unsigned char) end[-1] <= ' ')
                end--;
        line = memrchr(tail, '\n', (size_t) (end - tail));
        for (const char *p = line ? line + 1 : tail; p < end;) {
                size_t k = scan_utf8(p, end);

                if (n + MAX(k, (size_t) 1) > LAST_WORDS_MAX)
                        break;
                if (k == 0 || (unsigned char) *p < ' ' || *p == 0x7f)
                        buf[n++] = k == 0 ? '?' : ' ';
                else
                        for (size_t i = 0; i < k; i++)
                                buf[n++] = p[i];
                p += MAX(k, (size_t) 1);
        }
        buf[n] = 0;
        return n;
}

static void print_end(FILE *f, const LifecycleRecord *r)
{
        const char *name = r->signal > 0 ? signal_to_name(r->signal) : NULL;

        if (name)
                (void) fprintf(f, "killed by %s", name);
        else if (r->signal > 0)
                (void) fprintf(f, "killed by signal %d", r->signal);
        else if (r->exit_code >= 0)
                (void) fprintf(f, "exited with code %d", r->exit_code);
        else
                (void) fputs(kinds[r->kind].sentence, f);
        if (r->core_dumped)
                (void) fputs(" (core dumped)", f);
}

static void print_restart(FILE *f, const LifecycleRecord *r)
{
        char buf[DURATION_SIZE];

        if (r->restart_usec == UINT64_MAX)
                return;
        if (r->restart_usec < USEC_PER_MSEC)
                (void) fputs(", restarting at once", f);
        else
                (void) fprintf(f, ", restarting in %s", duration(r->restart_usec, buf));
}

/* What the actor said of its crash and the first frames of that, on one line; those of other threads have another form. */
static void print_crash(FILE *f, const char *text, unsigned frames)
{
        size_t n = strcspn(text, "\n");

        (void) fprintf(f, "; %.*s", (int) n, text);
        for (unsigned i = 0; i < frames && text[n] && text[n + 1] == '#'; i++) {
                text += n + 1;
                n = strcspn(text, "\n");
                (void) fprintf(f, "%s%.*s", i == 0 ? ": " : " < ", (int) n, text);
        }
}

static void print_message(FILE *f, const LifecycleRecord *r, unsigned frames)
{
        bool ended = r->kind == LIFECYCLE_EXITED || r->kind == LIFECYCLE_CRASHED ||
                     r->kind == LIFECYCLE_STOPPED || r->kind == LIFECYCLE_FAILED;
        char words[LAST_WORDS_MAX + 1], buf[DURATION_SIZE];

        if (r->path)
                (void) fprintf(f, "%s: ", r->path);
        if (r->text)
                (void) fputs(r->text, f);
        else if (r->kind == LIFECYCLE_EXITED || r->kind == LIFECYCLE_CRASHED)
                print_end(f, r);
        else
                (void) fputs(kinds[r->kind].sentence, f);
        if ((ended || r->kind == LIFECYCLE_READY) && r->runtime_usec != UINT64_MAX)
                (void) fprintf(f, " after %s", duration(r->runtime_usec, buf));
        if (r->kind == LIFECYCLE_CRASHED && r->cause)
                (void) fprintf(f, " (cause %s)", r->cause);
        print_restart(f, r);
        if (r->backtrace)
                print_crash(f, r->backtrace, frames);
        if (r->stderr_tail && last_words(r->stderr_tail, words) > 0)
                (void) fprintf(f, "; last words: %s", words);
}

static char *build_message(const LifecycleRecord *r, unsigned frames)
{
        char *text = NULL;
        size_t n;
        FILE *f = open_memstream(&text, &n);

        if (!f)
                return NULL;
        print_message(f, r, frames);
        if (fclose(f) != 0) {
                free(text);
                return NULL;
        }
        return text;
}

static void add_tree(JournalRecord *out, const LifecycleRecord *r)
{
        if (r->tree)
                journal_field(out, "TRACTOR_TREE", r->tree);
        else if (r->path && r->path[0] == '/' && r->path[1])
                journal_field_n(out, "TRACTOR_TREE", r->path + 1, strcspn(r->path + 1, "/"));
}

static void add_u64(JournalRecord *out, const char *key, uint64_t v)
{
        if (v != UINT64_MAX)
                journal_fieldf(out, key, "%llu", (unsigned long long) v);
}

static void add_end(JournalRecord *out, const LifecycleRecord *r)
{
        journal_field(out, "TRACTOR_CAUSE", r->cause);
        if (r->exit_code >= 0)
                journal_fieldf(out, "TRACTOR_EXIT_CODE", "%d", r->exit_code);
        if (r->signal > 0)
                journal_fieldf(out, "TRACTOR_SIGNAL", "%d", r->signal);
        add_u64(out, "TRACTOR_RUNTIME_US", r->runtime_usec);
        add_u64(out, "TRACTOR_MEMORY_PEAK", r->memory_peak);
        add_u64(out, "TRACTOR_CPU_US", r->cpu_usec);
        if (r->stderr_tail) {
                size_t n = strlen(r->stderr_tail);

                journal_field_n(out, "TRACTOR_STDERR", r->stderr_tail,
                                n > 0 && r->stderr_tail[n - 1] == '\n' ? n - 1 : n);
        }
        journal_field(out, "TRACTOR_BACKTRACE", r->backtrace);
        journal_field(out, "TRACTOR_REPORT", r->report);
}

void lifecycle_log(Journal *j, const LifecycleRecord *r)
{
        bool whole = j && journal_available(j);
        _cleanup_free_ char *message = build_message(r, whole ? MESSAGE_FRAMES : MESSAGE_FRAMES_ALONE);
        int priority = r->priority >= 0 ? r->priority : kinds[r->kind].priority;
        JournalRecord out = { 0 };

        if (!j) {
                log_full(priority, "%s", message ?: kinds[r->kind].sentence);
                return;
        }
        journal_field(&out, "MESSAGE_ID", kinds[r->kind].id);
        journal_fieldf(&out, "PRIORITY", "%d", priority);
        journal_field(&out, "SYSLOG_IDENTIFIER", "tractor");
        journal_field(&out, "MESSAGE", message ?: kinds[r->kind].sentence);
        add_tree(&out, r);
        journal_field(&out, "TRACTOR_PATH", r->path);
        journal_field(&out, "TRACTOR_ACTOR_ID", r->actor_id);
        if (r->generation > 0)
                journal_fieldf(&out, "TRACTOR_GENERATION", "%u", r->generation);
        journal_field(&out, "TRACTOR_EVENT", kinds[r->kind].name);
        if (r->restarts >= 0)
                journal_fieldf(&out, "TRACTOR_RESTARTS", "%lld", (long long) r->restarts);
        add_end(&out, r);
        if (r->object_pid > 0)
                journal_fieldf(&out, "OBJECT_PID", "%d", r->object_pid);
        journal_field(&out, "UNIT", r->unit);
        (void) journal_send(j, &out);
}
