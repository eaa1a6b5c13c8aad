/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>

#include "base/error.h"
#include "base/log.h"
#include "base/usec.h"
#include "stdio/adapter.h"
#include "wire/frame.h"

/* An answer that is too long for its asker is one that the asker can be told of: what the program says is bounded by its own
 * memory before it is by ours. */
#define PROGRAM_MAX_LINE FRAME_MAX_LINE_LIMIT
#define PROGRAM_MAX_VALUES (1024U * 1024)
#define LOG_BURST 8U
#define SHOWN_MAX 100

/* A request that the program has not answered. */
typedef struct Asked {
        ListNode node; /* in adapter->asked */
        Adapter *adapter;
        Call *call;
        int64_t id;
} Asked;

/* --- what is no message --- */

/* A program may print for ever: a few lines of its log are ours, then one a second. */
static bool may_log(Adapter *a)
{
        uint64_t now = now_usec(CLOCK_MONOTONIC), n = usec_sub(now, a->logged_at) / USEC_PER_SEC;

        if (n > 0) {
                a->log_tokens = (unsigned) MIN(a->log_tokens + n, LOG_BURST);
                a->logged_at = now;
        }
        if (a->log_tokens == 0) {
                a->unlogged++;
                return false;
        }
        a->log_tokens--;
        if (a->unlogged > 0)
                log_warning("%lu more such lines were dropped", a->unlogged);
        a->unlogged = 0;
        return true;
}

static void log_dropped(Adapter *a, const char *line, size_t n, const char *why)
{
        char shown[SHOWN_MAX + 1];
        size_t k = MIN(n, (size_t) SHOWN_MAX);

        if (!may_log(a))
                return;
        for (size_t i = 0; i < k; i++)
                shown[i] = isprint((unsigned char) line[i]) ? line[i] : '?';
        shown[k] = 0;
        log_warning("a line of the program's was dropped: %s: %s%s", why, shown, n > k ? "…" : "");
}

/* --- what it was asked --- */

/* The call, whose answer is about to be made. */
static Call *take_call(Asked *q)
{
        Call *call = q->call;

        call_set_userdata(call, NULL, NULL);
        list_unlink(&q->node);
        free(q);
        return call;
}

/* Nobody waits for the answer, which is dropped when it comes. */
static void on_cancel(Call *call, void *userdata)
{
        Asked *q = userdata;

        (void) ids_remove(&q->adapter->ids, q->id);
        call_fail(take_call(q), ERROR_CANCELLED, NULL, "cancelled");
}

void program_fail_all(Adapter *a, int code, Json *data, const char *why)
{
        while (!list_is_empty(&a->asked)) {
                Asked *q = LIST_ENTRY(a->asked.next, Asked, node);

                (void) ids_remove(&a->ids, q->id);
                call_fail(take_call(q), code, data ? json_ref(data) : NULL, "%s", why);
        }
}

int program_say(Adapter *a, Json *v, size_t *ret_n)
{
        _cleanup_json_ Json *envelope = v;
        const char *text;
        size_t n;
        int r;

        text = json_print(envelope, &n);
        if (!text)
                return -ENOMEM;
        r = lines_send(a->program, text, n);
        if (r < 0)
                return r;
        *ret_n = n;
        if (!a->paused && lines_queued(a->program) > PROGRAM_QUEUE_LIMIT) {
                a->paused = true;
                lines_pause(a->program, true);
        }
        return 0;
}

static int ask(Asked *q, const Message *m, size_t *ret_n)
{
        Json *id = NULL, *v = NULL;
        int r;

        r = json_pack(&id, "I", q->id);
        if (r < 0)
                return r;
        r = message_request(&v, id, m->method, json_ref(m->params));
        json_unref(id);
        return r < 0 ? r : program_say(q->adapter, v, ret_n);
}

bool program_ask(Adapter *a, Call *call, const Message *m, size_t *ret_n)
{
        Asked *q = calloc(1, sizeof(Asked));
        int r = q ? ids_add(&a->ids, q, &q->id) : -ENOMEM;

        if (r < 0) {
                free(q);
                call_fail(call, ERROR_INTERNAL, NULL, "out of memory");
                return false;
        }
        q->adapter = a;
        q->call = call;
        list_append(&a->asked, &q->node);
        call_set_userdata(call, q, on_cancel);
        r = ask(q, m, ret_n);
        if (r == -ENOMEM) {
                (void) ids_remove(&a->ids, q->id);
                call_fail(take_call(q), ERROR_INTERNAL, NULL, "out of memory");
        }
        /* A program that does not listen is about to end, or will be found not to: then it is answered. */
        return r >= 0;
}

/* --- what it says --- */

static void got_answer(Adapter *a, const Message *m, const char *line, size_t n)
{
        void *asked;

        switch (ids_take(&a->ids, m->id, &asked)) {
        case IDS_OPEN:
                if (m->kind == MESSAGE_RESULT)
                        call_reply(take_call(asked), json_ref(m->result), NULL, 0);
                else
                        call_fail_object(take_call(asked), json_ref(m->error));
                break;
        case IDS_UNKNOWN:
                log_dropped(a, line, n,
                                m->id ? "an answer to what was never asked"
                                      : "an error that answers nothing");
                break;
        default:
                break;
        }
}

static void answer_error(Adapter *a, Json *id, int code, const char *why)
{
        Json *error = NULL, *v = NULL;
        size_t n;

        if (message_error_object(&error, code, NULL, "%s", why) < 0 || message_error(&v, id, error) < 0 ||
                        program_say(a, v, &n) == -ENOMEM)
                adapter_broken(a);
}

static void got_request(Adapter *a, const Message *m)
{
        if (startswith(m->method, "$/"))
                answer_error(a, m->id, ERROR_METHOD_NOT_FOUND, "methods in $/ are the protocol's own");
        else if (a->n_questions >= QUESTIONS_MAX)
                answer_error(a, m->id, ERROR_MAILBOX_FULL, "too many open requests");
        else
                connections_ask(a, m->id, m->method, m->params);
}

/* Whoever waits for it is told. */
static void got_garbage(Adapter *a, const char *line, size_t n, const char *why)
{
        Asked *q;
        int64_t id;

        log_dropped(a, line, n, why);
        q = ids_guess(line, n, &id) ? ids_remove(&a->ids, id) : NULL;
        if (q)
                call_fail(take_call(q), ERROR_INTERNAL, NULL, "the program's answer is not valid: %s", why);
}

static void on_line(char *line, size_t n, void *userdata)
{
        const JsonLimits limits = { .max_values = PROGRAM_MAX_VALUES };
        Adapter *a = userdata;
        Message m = { 0 };
        MessageFault fault;
        const char *why;

        if (message_parse(line, n, &limits, &m, &fault, &why) < 0) {
                adapter_broken(a);
                return;
        }
        if (fault != MESSAGE_OK)
                got_garbage(a, line, n, why);
        else if (m.kind == MESSAGE_REQUEST)
                got_request(a, &m);
        else if (m.kind != MESSAGE_NOTIFICATION)
                got_answer(a, &m, line, n);
        else if (!startswith(m.method, "$/"))
                connections_tell(a, m.method, m.params);
        message_done(&m);
}

static void on_end(int r, void *userdata)
{
        if (r == -EMSGSIZE)
                log_error("a line of the program's is longer than %u bytes: nothing more is read from it",
                                PROGRAM_MAX_LINE);
        else if (r < 0)
                log_errno(r, "can't read from the program");
        adapter_lost_program(userdata);
}

static void on_broken(void *userdata)
{
        adapter_lost_program(userdata);
}

static void on_written(void *userdata)
{
        Adapter *a = userdata;

        if (a->paused && lines_queued(a->program) <= PROGRAM_QUEUE_MAX) {
                a->paused = false;
                lines_pause(a->program, false);
        }
        connections_pace(a);
}

static const LinesVtable vtable = {
        .on_line = on_line,
        .on_end = on_end,
        .on_written = on_written,
        .on_broken = on_broken,
};

int program_open(Adapter *a, int in, int out)
{
        a->log_tokens = LOG_BURST;
        a->logged_at = now_usec(CLOCK_MONOTONIC);
        return lines_new(a->event, in, out, PROGRAM_MAX_LINE, &vtable, a, &a->program);
}
