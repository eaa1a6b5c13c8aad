/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>

#include "crash/crash.h"
#include "wire/message.h"

static int frames_to_json(char *const *frames, Json **ret)
{
        _cleanup_json_ Json *v = NULL;
        int r = json_pack(&v, "[]");

        for (size_t i = 0; r >= 0 && i < strv_length(frames); i++)
                r = json_append(v, json_new_string(frames[i], SIZE_MAX));
        if (r < 0)
                return r;
        *ret = TAKE_PTR(v);
        return 0;
}

static int threads_to_json(const CrashProcess *p, Json **ret)
{
        _cleanup_json_ Json *list = NULL;
        int r = json_pack(&list, "[]");

        for (size_t i = 1; r >= 0 && i < p->n_threads; i++) {
                const CrashThread *t = &p->threads[i];
                Json *frames = NULL, *v = NULL;

                r = frames_to_json(t->frames, &frames);
                if (r >= 0)
                        r = json_pack(&v, "{tid:i, name:s, backtrace:o}", (int) t->tid, t->name, frames);
                if (r >= 0)
                        r = json_append(list, v);
        }
        if (r < 0)
                return r;
        *ret = TAKE_PTR(list);
        return 0;
}

static int params_of(const CrashProcess *p, Json **ret)
{
        _cleanup_free_ char *address = NULL, *number = NULL;
        Json *frames = NULL, *threads = NULL;
        int r;

        if (p->note.has_address && !(address = xasprintf("0x%llx", (unsigned long long) p->note.address)))
                return -ENOMEM;
        if (!(number = xasprintf("signal %d", p->note.signo)))
                return -ENOMEM;
        r = frames_to_json(p->n_threads > 0 ? p->threads[0].frames : NULL, &frames);
        if (r >= 0)
                r = threads_to_json(p, &threads);
        if (r < 0) {
                json_unref(frames);
                return r;
        }
        return json_pack(ret,
                        "{signal:s, address:s?, task:s?, message:s, backtrace:o, threads:o, "
                        "threads_left_out:U}",
                        crash_signal_name(p->note.signo) ?: number, address,
                        p->note.task[0] ? p->note.task : NULL, p->note.message, frames, threads,
                        (uint64_t) p->unseen);
}

int crash_report_line(const CrashProcess *p, char **ret)
{
        _cleanup_json_ Json *v = NULL;
        Json *params = NULL;
        const char *text;
        char *line;
        int r = params_of(p, &params);

        if (r >= 0)
                r = message_notification(&v, "$/crash", params);
        if (r < 0)
                return r;
        text = json_print(v, NULL);
        line = text ? xasprintf("\n%s\n", text) : NULL;
        if (!line)
                return -ENOMEM;
        *ret = line;
        return 0;
}

static void print_frames(FILE *f, char *const *frames)
{
        for (size_t i = 0; i < strv_length(frames); i++)
                (void) fprintf(f, "    %s\n", frames[i]);
}

char *crash_report_text(const CrashProcess *p)
{
        char head[512], *text = NULL;
        CrashText t = { head, 0, sizeof(head) };
        size_t n;
        FILE *f = open_memstream(&text, &n);

        if (!f)
                return NULL;
        crash_note_text(&p->note, &t);
        (void) fputs(head, f);
        if (p->n_threads > 0)
                print_frames(f, p->threads[0].frames);
        for (size_t i = 1; i < p->n_threads; i++) {
                (void) fprintf(f, "  thread %d (%s):\n", p->threads[i].tid, p->threads[i].name);
                print_frames(f, p->threads[i].frames);
        }
        if (p->unseen > 0)
                (void) fprintf(f, "  and %zu more threads\n", p->unseen);
        if (fclose(f) != 0) {
                free(text);
                return NULL;
        }
        return text;
}
