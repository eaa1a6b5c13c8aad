/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <systemd/sd-id128.h>

#include "supervisor/crash-report.h"
#include "wire/scan.h"

/* One line that shows as it reads: `s` as far as it fits. */
static void clean(const char *s, char buf[static CRASH_REPORT_LINE_MAX + 1])
{
        const char *end = s + strlen(s);
        size_t n = 0;

        while (s < end) {
                size_t k = MAX(scan_utf8(s, end), (size_t) 1);

                if (n + k > CRASH_REPORT_LINE_MAX)
                        break;
                if (k == 1 && ((unsigned char) *s < ' ' || (unsigned char) *s >= 0x7f))
                        buf[n++] = ' ';
                else
                        for (size_t i = 0; i < k; i++)
                                buf[n++] = s[i];
                s += k;
        }
        buf[n] = 0;
}

static int take_frames(CrashReport *c, const Json *frames)
{
        int r = json_pack(&c->backtrace, "[]");

        for (size_t i = 0; r >= 0 && i < MIN(json_length(frames), (size_t) CRASH_REPORT_FRAMES); i++) {
                const char *s = json_string(json_item(frames, i));
                char line[CRASH_REPORT_LINE_MAX + 1];

                if (!s)
                        continue;
                clean(s, line);
                r = json_append(c->backtrace, json_new_string(line, SIZE_MAX));
        }
        return r;
}

typedef struct Text {
        FILE *f;
        size_t n;
} Text;

static void put_line(Text *t, const char *prefix, const char *s)
{
        char line[CRASH_REPORT_LINE_MAX + 1];

        clean(s, line);
        if (t->n + strlen(prefix) + strlen(line) + 1 > CRASH_REPORT_TEXT_MAX)
                return;
        if (t->n > 0)
                t->n += (size_t) fprintf(t->f, "\n");
        t->n += (size_t) fprintf(t->f, "%s%s", prefix, line);
}

static void put_frames(Text *t, const Json *frames)
{
        for (size_t i = 0; i < json_length(frames); i++)
                if (json_string(json_item(frames, i)))
                        put_line(t, "", json_string(json_item(frames, i)));
}

static void put_threads(Text *t, const Json *threads)
{
        for (size_t i = 0; i < json_length(threads); i++) {
                const Json *thread = json_item(threads, i);
                char head[48];

                (void) snprintf(head, sizeof(head), "thread %lld ",
                                (long long) json_get_integer(thread, "tid", 0));
                put_line(t, head, json_get_string(thread, "name", ""));
                put_frames(t, json_get(thread, "backtrace"));
        }
}

static int print_text(CrashReport *c, const Json *params)
{
        Text t = { 0 };
        size_t n;

        t.f = open_memstream(&c->text, &n);
        if (!t.f)
                return -ENOMEM;
        put_line(&t, "", c->message);
        put_frames(&t, json_get(params, "backtrace"));
        put_threads(&t, json_get(params, "threads"));
        return fclose(t.f) == 0 ? 0 : -ENOMEM;
}

int crash_report_new(const Json *params, CrashReport **ret)
{
        _cleanup_(crash_report_freep) CrashReport *c = NULL;
        const char *signal = json_get_string(params, "signal", NULL);
        char line[CRASH_REPORT_LINE_MAX + 1];
        sd_id128_t id;
        int r;

        if (!signal)
                return -EBADMSG;
        r = sd_id128_randomize(&id);
        if (r < 0)
                return r;
        c = calloc(1, sizeof(CrashReport));
        if (!c)
                return -ENOMEM;
        (void) sd_id128_to_string(id, c->id);
        clean(json_get_string(params, "message", signal), line);
        c->message = strdup(line);
        if (!c->message)
                return -ENOMEM;
        r = take_frames(c, json_get(params, "backtrace"));
        if (r >= 0)
                r = print_text(c, params);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(c);
        return 0;
}

CrashReport *crash_report_free(CrashReport *c)
{
        if (!c)
                return NULL;
        free(c->message);
        free(c->text);
        json_unref(c->backtrace);
        free(c);
        return NULL;
}
