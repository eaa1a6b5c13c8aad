/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/error.h"
#include "tractorctl/link.h"
#include "tractorctl/outlet.h"
#include "wire/frame.h"

/* `stream`: a dialog whose items come down as lines of stdout, and lines of stdin go up as items. Either direction
 * waits for the other side of it: an item is given back to the actor as credit when stdout has taken its line, and
 * stdin is not read while the actor gives no credit. */

#define READ_SIZE (64U * 1024)

typedef struct Flow {
        Context *c;
        Link *link;
        int64_t id;
        Outlet out;
        bool done, broken; /* broken: given up, for what has been printed */
        Json *result, *error;
        /* up */
        sd_event_source *in;
        Frame frame;
        Json *held; /* no room for it yet */
        uint64_t line;
        bool eof, stopped;
        int code;
} Flow;

static void flow_done(Flow *f)
{
        f->link = link_free(f->link);
        f->in = sd_event_source_disable_unref(f->in);
        outlet_done(&f->out);
        frame_done(&f->frame);
        json_unref(f->held);
        json_unref(f->result);
        json_unref(f->error);
}

static void give_up(Flow *f, int code)
{
        f->broken = true;
        f->code = f->code ?: code;
        if (f->in)
                (void) sd_event_source_set_enabled(f->in, SD_EVENT_OFF);
        if (session_cancel(link_session(f->link), f->id, "given up") < 0)
                f->done = true;
}

/* --- down --- */

static void on_written(void *userdata)
{
        Flow *f = userdata;

        if (f->out.error < 0 && !f->done)
                give_up(f, fail(f->c, CTL_FAILED, "can't write the output: %s; check what it goes to",
                                           strerror(-f->out.error)));
        else if (!f->done)
                (void) session_took(link_session(f->link), f->id, 1);
}

static void on_next(Json *value, uint64_t lost, void *userdata)
{
        Flow *f = userdata;
        _cleanup_free_ char *pretty = NULL, *clean = NULL;
        const char *text = value ? json_print(value, NULL) : "null";
        int r;

        if (f->broken)
                return;
        if (lost > 0)
                note(f->c, "%llu were lost", (unsigned long long) lost);
        if (value && f->c->o->json == JSON_MODE_PRETTY)
                text = pretty = json_print_pretty(value);
        else if (f->c->style.terminal && text)
                text = clean = text_clean(text);
        r = text ? outlet_put(&f->out, text, strlen(text)) : -ENOMEM;
        if (r < 0)
                give_up(f, fail_errno(f->c, r));
}

static void on_reply(Json *result, Json *error, int *fds, size_t n_fds, void *userdata)
{
        Flow *f = userdata;

        f->done = true;
        f->result = result ? json_ref(result) : NULL;
        f->error = error ? json_ref(error) : NULL;
        if (f->in)
                (void) sd_event_source_set_enabled(f->in, SD_EVENT_OFF);
}

/* --- up --- */

static int parse_line(Flow *f, const char *line, size_t n, Json **ret)
{
        JsonError e;
        int r;

        f->line++;
        r = json_parse(line, n, NULL, ret, &e);
        if (r == -EBADMSG)
                give_up(f, fail(f->c, CTL_FAILED,
                                           "item %llu of stdin is not JSON: %s at byte %zu; check what "
                                           "writes it",
                                           (unsigned long long) f->line, e.message, e.offset));
        else if (r < 0)
                give_up(f, fail_errno(f->c, r));
        return r;
}

/* The next line, a last one without its newline as well: 1, 0 when there is none. */
static int next_line(Flow *f, char **ret, size_t *ret_n)
{
        int r = frame_next(&f->frame, ret, ret_n);

        if (r != 0 || !f->eof || f->frame.start == f->frame.end)
                return r;
        *ret = f->frame.data + f->frame.start;
        *ret_n = f->frame.end - f->frame.start;
        f->frame.start = f->frame.end;
        return 1;
}

/* False: nothing more can be done for now. */
static bool send_one(Flow *f)
{
        char *line;
        size_t n;
        int r;

        if (!f->held) {
                r = next_line(f, &line, &n);
                if (r < 0)
                        give_up(f, fail(f->c, CTL_FAILED,
                                                   "item %llu of stdin is longer than the actor takes; send "
                                                   "less",
                                                   (unsigned long long) f->line + 1));
                if (r <= 0 || parse_line(f, line, n, &f->held) < 0)
                        return false;
        }
        r = session_next(link_session(f->link), f->id, json_ref(f->held));
        if (r == -EAGAIN)
                return false;
        f->held = json_unref(f->held);
        if (r < 0 && r != -EPIPE && r != -ENOENT)
                give_up(f, fail_errno(f->c, r));
        return r >= 0;
}

static void pump(Flow *f)
{
        if (f->done || f->broken)
                return;
        while (send_one(f))
                ;
        if (f->done || f->broken || f->stopped)
                return;
        if (f->eof && !f->held && session_stop(link_session(f->link), f->id) != -EAGAIN)
                f->stopped = true;
        if (f->in)
                (void) sd_event_source_set_enabled(f->in, f->held || f->eof ? SD_EVENT_OFF : SD_EVENT_ON);
}

static int read_input(Flow *f)
{
        size_t room;
        ssize_t n;
        void *p;
        int r = frame_reserve(&f->frame, READ_SIZE, &p, &room);

        if (r < 0)
                return r;
        n = read(STDIN_FILENO, p, room);
        if (n < 0)
                return errno == EINTR || errno == EAGAIN ? 0 : -errno;
        if (n == 0)
                f->eof = true;
        frame_commit(&f->frame, (size_t) n);
        pump(f);
        return 0;
}

static int on_input(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
        Flow *f = userdata;
        int r = read_input(f);

        if (r < 0)
                give_up(f, fail(f->c, CTL_FAILED, "can't read stdin: %s; check where it comes from",
                                           strerror(-r)));
        return 0;
}

static int on_file_input(sd_event_source *s, void *userdata)
{
        return on_input(s, STDIN_FILENO, 0, userdata);
}

/* At a terminal there is nobody but the reader of what comes down. */
static void open_input(Flow *f)
{
        sd_event *event = f->c->event;
        int r = 0;

        if (isatty(STDIN_FILENO))
                f->eof = true;
        else
                r = sd_event_add_io(event, &f->in, STDIN_FILENO, EPOLLIN, on_input, f);
        if (r == -EPERM) { /* a file: never not ready */
                r = sd_event_add_defer(event, &f->in, on_file_input, f);
                if (r >= 0)
                        r = sd_event_source_set_enabled(f->in, SD_EVENT_ON);
        }
        if (r < 0) /* closed */
                f->eof = true;
        pump(f);
}

static void on_started(Json *value, void *userdata)
{
        open_input(userdata);
}

static void on_credit(void *userdata)
{
        pump(userdata);
}

/* --- */

static const ReplyVtable vtable = {
        .on_reply = on_reply,
        .on_started = on_started,
        .items = { .on_next = on_next, .on_credit = on_credit },
};

/* What came before the end is still printed. */
static int flush(Flow *f)
{
        int r = 0;

        while (r >= 0 && !outlet_is_empty(&f->out) && f->out.error == 0 && f->c->interrupts == 0)
                r = sd_event_run(f->c->event, UINT64_MAX);
        return f->c->interrupts > 0 ? -ECANCELED : f->out.error < 0 ? f->out.error : r;
}

static int finish(Flow *f, int r)
{
        if (f->broken && r != -ECANCELED)
                return f->code;
        if (r >= 0)
                r = flush(f);
        if (r < 0)
                return fail_errno(f->c, r);
        if (f->error)
                return fail_actor(f->c, f->c->o->args[1], f->error);
        if (f->result && !f->c->o->quiet)
                note(f->c, "result: %s", strna(json_print(f->result, NULL)));
        return CTL_DONE;
}

static int run(Flow *f, Json *params)
{
        static const CallOptions options = { .ctx = true, .items = { .manual = true } };
        int r = outlet_init(&f->out, f->c->event, STDOUT_FILENO, on_written, f);

        if (r < 0) {
                json_unref(params);
                return fail_errno(f->c, r);
        }
        f->id = session_call(link_session(f->link), f->c->o->args[1], params, &options, &vtable, f);
        if (f->id < 0)
                return link_fail(f->link, f->c->o->args[1], (int) f->id);
        return finish(f, await_end(f->c, f->link, f->id, &f->done));
}

int verb_stream(Context *c)
{
        _cleanup_(flow_done) Flow f = { .c = c };
        Json *params = NULL;
        int r = call_params(c, &params);

        frame_init(&f.frame, FRAME_MAX_LINE_DEFAULT);
        list_init(&f.out.lines);
        if (r == 0)
                r = context_watch_signals(c);
        if (r == 0)
                r = link_open(c, c->o->args[0], true, &f.link);
        if (r == 0)
                r = link_await_hello(f.link);
        if (r != 0) {
                json_unref(params);
                return r;
        }
        return run(&f, params);
}
