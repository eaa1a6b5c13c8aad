/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "dialog/dialog.h"

/* verdict < 0: our side may not. */
typedef struct Rule {
        int verdict;
        DialogState next;
        const char *why;
} Rule;

#define GO(state)                                                                                           \
        {                                                                                                   \
                .verdict = DIALOG_DO, .next = (state)                                                       \
        }
#define STAY(state) GO(state)
#define LATE(state)                                                                                         \
        {                                                                                                   \
                .verdict = DIALOG_DROP, .next = (state)                                                     \
        }
#define WRONG(state, text)                                                                                  \
        {                                                                                                   \
                .verdict = DIALOG_FAULT, .next = (state), .why = (text)                                     \
        }
#define FATAL(text)                                                                                         \
        {                                                                                                   \
                .verdict = DIALOG_BREAK, .next = DIALOG_ENDED, .why = (text)                                \
        }
#define NEVER(state, error)                                                                                 \
        {                                                                                                   \
                .verdict = -(error), .next = (state)                                                        \
        }

static const char not_by_opener[] = "only the callee may say this";
static const char not_by_callee[] = "only the opener may say this";

/* clang-format off: a table */
static const Rule opener[_DIALOG_STATE_MAX][_DIALOG_EVENT_MAX] = {
        [DIALOG_OPENING] = {
                [DIALOG_SEND_STARTED] = NEVER(DIALOG_OPENING, EPROTO),
                [DIALOG_SEND_NEXT]    = NEVER(DIALOG_OPENING, EPROTO),
                [DIALOG_SEND_CREDIT]  = STAY(DIALOG_OPENING),
                [DIALOG_SEND_STOP]    = NEVER(DIALOG_OPENING, EPROTO),
                [DIALOG_SEND_CANCEL]  = GO(DIALOG_CANCELLING),
                [DIALOG_SEND_RESULT]  = NEVER(DIALOG_OPENING, EPROTO),
                [DIALOG_SEND_ERROR]   = NEVER(DIALOG_OPENING, EPROTO),
                [DIALOG_GOT_STARTED]  = GO(DIALOG_OPEN),
                [DIALOG_GOT_NEXT]     = FATAL("$/next before $/started"),
                [DIALOG_GOT_CREDIT]   = WRONG(DIALOG_OPENING, "$/credit before $/started"),
                [DIALOG_GOT_STOP]     = FATAL("$/stop before $/started"),
                [DIALOG_GOT_CANCEL]   = WRONG(DIALOG_OPENING, not_by_callee),
                [DIALOG_GOT_RESULT]   = FATAL("a result before $/started"),
                [DIALOG_GOT_ERROR]    = GO(DIALOG_ENDED),
                [DIALOG_LOST]         = GO(DIALOG_ENDED),
                [DIALOG_EXPIRED]      = NEVER(DIALOG_OPENING, EPROTO),
        },
        [DIALOG_OPEN] = {
                [DIALOG_SEND_STARTED] = NEVER(DIALOG_OPEN, EPROTO),
                [DIALOG_SEND_NEXT]    = STAY(DIALOG_OPEN),
                [DIALOG_SEND_CREDIT]  = STAY(DIALOG_OPEN),
                [DIALOG_SEND_STOP]    = STAY(DIALOG_OPEN),
                [DIALOG_SEND_CANCEL]  = GO(DIALOG_CANCELLING),
                [DIALOG_SEND_RESULT]  = NEVER(DIALOG_OPEN, EPROTO),
                [DIALOG_SEND_ERROR]   = NEVER(DIALOG_OPEN, EPROTO),
                [DIALOG_GOT_STARTED]  = FATAL("$/started came twice"),
                [DIALOG_GOT_NEXT]     = STAY(DIALOG_OPEN),
                [DIALOG_GOT_CREDIT]   = STAY(DIALOG_OPEN),
                [DIALOG_GOT_STOP]     = STAY(DIALOG_OPEN),
                [DIALOG_GOT_CANCEL]   = WRONG(DIALOG_OPEN, not_by_callee),
                [DIALOG_GOT_RESULT]   = GO(DIALOG_ENDED),
                [DIALOG_GOT_ERROR]    = GO(DIALOG_ENDED),
                [DIALOG_LOST]         = GO(DIALOG_ENDED),
                [DIALOG_EXPIRED]      = NEVER(DIALOG_OPEN, EPROTO),
        },
        [DIALOG_CANCELLING] = {
                [DIALOG_SEND_STARTED] = NEVER(DIALOG_CANCELLING, EPROTO),
                [DIALOG_SEND_NEXT]    = NEVER(DIALOG_CANCELLING, EPIPE),
                [DIALOG_SEND_CREDIT]  = NEVER(DIALOG_CANCELLING, EPIPE),
                [DIALOG_SEND_STOP]    = NEVER(DIALOG_CANCELLING, EPIPE),
                [DIALOG_SEND_CANCEL]  = LATE(DIALOG_CANCELLING),
                [DIALOG_SEND_RESULT]  = NEVER(DIALOG_CANCELLING, EPROTO),
                [DIALOG_SEND_ERROR]   = NEVER(DIALOG_CANCELLING, EPROTO),
                [DIALOG_GOT_STARTED]  = LATE(DIALOG_CANCELLING),
                [DIALOG_GOT_NEXT]     = LATE(DIALOG_CANCELLING),
                [DIALOG_GOT_CREDIT]   = LATE(DIALOG_CANCELLING),
                [DIALOG_GOT_STOP]     = LATE(DIALOG_CANCELLING),
                [DIALOG_GOT_CANCEL]   = WRONG(DIALOG_CANCELLING, not_by_callee),
                [DIALOG_GOT_RESULT]   = GO(DIALOG_ENDED),
                [DIALOG_GOT_ERROR]    = GO(DIALOG_ENDED),
                [DIALOG_LOST]         = GO(DIALOG_ENDED),
                [DIALOG_EXPIRED]      = GO(DIALOG_ENDED),
        },
        [DIALOG_ENDED] = {
                [DIALOG_SEND_STARTED] = NEVER(DIALOG_ENDED, EPROTO),
                [DIALOG_SEND_NEXT]    = NEVER(DIALOG_ENDED, EPIPE),
                [DIALOG_SEND_CREDIT]  = NEVER(DIALOG_ENDED, EPIPE),
                [DIALOG_SEND_STOP]    = NEVER(DIALOG_ENDED, EPIPE),
                [DIALOG_SEND_CANCEL]  = LATE(DIALOG_ENDED),
                [DIALOG_SEND_RESULT]  = NEVER(DIALOG_ENDED, EPROTO),
                [DIALOG_SEND_ERROR]   = NEVER(DIALOG_ENDED, EPROTO),
                [DIALOG_GOT_STARTED]  = LATE(DIALOG_ENDED),
                [DIALOG_GOT_NEXT]     = LATE(DIALOG_ENDED),
                [DIALOG_GOT_CREDIT]   = LATE(DIALOG_ENDED),
                [DIALOG_GOT_STOP]     = LATE(DIALOG_ENDED),
                [DIALOG_GOT_CANCEL]   = LATE(DIALOG_ENDED),
                [DIALOG_GOT_RESULT]   = LATE(DIALOG_ENDED),
                [DIALOG_GOT_ERROR]    = LATE(DIALOG_ENDED),
                [DIALOG_LOST]         = LATE(DIALOG_ENDED),
                [DIALOG_EXPIRED]      = LATE(DIALOG_ENDED),
        },
};

static const Rule callee[_DIALOG_STATE_MAX][_DIALOG_EVENT_MAX] = {
        [DIALOG_OPENING] = {
                [DIALOG_SEND_STARTED] = GO(DIALOG_OPEN),
                [DIALOG_SEND_NEXT]    = NEVER(DIALOG_OPENING, EPROTO),
                [DIALOG_SEND_CREDIT]  = NEVER(DIALOG_OPENING, EPROTO),
                [DIALOG_SEND_STOP]    = NEVER(DIALOG_OPENING, EPROTO),
                [DIALOG_SEND_CANCEL]  = NEVER(DIALOG_OPENING, EPROTO),
                [DIALOG_SEND_RESULT]  = NEVER(DIALOG_OPENING, EPROTO),
                [DIALOG_SEND_ERROR]   = GO(DIALOG_ENDED),
                [DIALOG_GOT_STARTED]  = WRONG(DIALOG_OPENING, not_by_opener),
                [DIALOG_GOT_NEXT]     = WRONG(DIALOG_OPENING, "$/next before $/started"),
                [DIALOG_GOT_CREDIT]   = STAY(DIALOG_OPENING),
                [DIALOG_GOT_STOP]     = WRONG(DIALOG_OPENING, "$/stop before $/started"),
                [DIALOG_GOT_CANCEL]   = GO(DIALOG_CANCELLING),
                [DIALOG_GOT_RESULT]   = WRONG(DIALOG_OPENING, not_by_opener),
                [DIALOG_GOT_ERROR]    = WRONG(DIALOG_OPENING, not_by_opener),
                [DIALOG_LOST]         = GO(DIALOG_ENDED),
                [DIALOG_EXPIRED]      = NEVER(DIALOG_OPENING, EPROTO),
        },
        [DIALOG_OPEN] = {
                [DIALOG_SEND_STARTED] = NEVER(DIALOG_OPEN, EALREADY),
                [DIALOG_SEND_NEXT]    = STAY(DIALOG_OPEN),
                [DIALOG_SEND_CREDIT]  = STAY(DIALOG_OPEN),
                [DIALOG_SEND_STOP]    = STAY(DIALOG_OPEN),
                [DIALOG_SEND_CANCEL]  = NEVER(DIALOG_OPEN, EPROTO),
                [DIALOG_SEND_RESULT]  = GO(DIALOG_ENDED),
                [DIALOG_SEND_ERROR]   = GO(DIALOG_ENDED),
                [DIALOG_GOT_STARTED]  = WRONG(DIALOG_OPEN, not_by_opener),
                [DIALOG_GOT_NEXT]     = STAY(DIALOG_OPEN),
                [DIALOG_GOT_CREDIT]   = STAY(DIALOG_OPEN),
                [DIALOG_GOT_STOP]     = STAY(DIALOG_OPEN),
                [DIALOG_GOT_CANCEL]   = GO(DIALOG_CANCELLING),
                [DIALOG_GOT_RESULT]   = WRONG(DIALOG_OPEN, not_by_opener),
                [DIALOG_GOT_ERROR]    = WRONG(DIALOG_OPEN, not_by_opener),
                [DIALOG_LOST]         = GO(DIALOG_ENDED),
                [DIALOG_EXPIRED]      = NEVER(DIALOG_OPEN, EPROTO),
        },
        [DIALOG_CANCELLING] = {
                /* A result that was on its way still wins, and needs its $/started before it. */
                [DIALOG_SEND_STARTED] = STAY(DIALOG_CANCELLING),
                [DIALOG_SEND_NEXT]    = NEVER(DIALOG_CANCELLING, EPIPE),
                [DIALOG_SEND_CREDIT]  = NEVER(DIALOG_CANCELLING, EPIPE),
                [DIALOG_SEND_STOP]    = NEVER(DIALOG_CANCELLING, EPIPE),
                [DIALOG_SEND_CANCEL]  = NEVER(DIALOG_CANCELLING, EPROTO),
                [DIALOG_SEND_RESULT]  = GO(DIALOG_ENDED),
                [DIALOG_SEND_ERROR]   = GO(DIALOG_ENDED),
                [DIALOG_GOT_STARTED]  = WRONG(DIALOG_CANCELLING, not_by_opener),
                [DIALOG_GOT_NEXT]     = LATE(DIALOG_CANCELLING),
                [DIALOG_GOT_CREDIT]   = LATE(DIALOG_CANCELLING),
                [DIALOG_GOT_STOP]     = LATE(DIALOG_CANCELLING),
                [DIALOG_GOT_CANCEL]   = LATE(DIALOG_CANCELLING),
                [DIALOG_GOT_RESULT]   = WRONG(DIALOG_CANCELLING, not_by_opener),
                [DIALOG_GOT_ERROR]    = WRONG(DIALOG_CANCELLING, not_by_opener),
                [DIALOG_LOST]         = GO(DIALOG_ENDED),
                [DIALOG_EXPIRED]      = NEVER(DIALOG_CANCELLING, EPROTO),
        },
        [DIALOG_ENDED] = {
                [DIALOG_SEND_STARTED] = NEVER(DIALOG_ENDED, EPIPE),
                [DIALOG_SEND_NEXT]    = NEVER(DIALOG_ENDED, EPIPE),
                [DIALOG_SEND_CREDIT]  = NEVER(DIALOG_ENDED, EPIPE),
                [DIALOG_SEND_STOP]    = NEVER(DIALOG_ENDED, EPIPE),
                [DIALOG_SEND_CANCEL]  = NEVER(DIALOG_ENDED, EPROTO),
                [DIALOG_SEND_RESULT]  = LATE(DIALOG_ENDED),
                [DIALOG_SEND_ERROR]   = LATE(DIALOG_ENDED),
                [DIALOG_GOT_STARTED]  = LATE(DIALOG_ENDED),
                [DIALOG_GOT_NEXT]     = LATE(DIALOG_ENDED),
                [DIALOG_GOT_CREDIT]   = LATE(DIALOG_ENDED),
                [DIALOG_GOT_STOP]     = LATE(DIALOG_ENDED),
                [DIALOG_GOT_CANCEL]   = LATE(DIALOG_ENDED),
                [DIALOG_GOT_RESULT]   = LATE(DIALOG_ENDED),
                [DIALOG_GOT_ERROR]    = LATE(DIALOG_ENDED),
                [DIALOG_LOST]         = LATE(DIALOG_ENDED),
                [DIALOG_EXPIRED]      = LATE(DIALOG_ENDED),
        },
};

static const char *const state_names[_DIALOG_STATE_MAX] = {
        [DIALOG_OPENING] = "opening",
        [DIALOG_OPEN] = "open",
        [DIALOG_CANCELLING] = "cancelling",
        [DIALOG_ENDED] = "ended",
};

static const char *const event_names[_DIALOG_EVENT_MAX] = {
        [DIALOG_SEND_STARTED] = "send-started",
        [DIALOG_SEND_NEXT] = "send-next",
        [DIALOG_SEND_CREDIT] = "send-credit",
        [DIALOG_SEND_STOP] = "send-stop",
        [DIALOG_SEND_CANCEL] = "send-cancel",
        [DIALOG_SEND_RESULT] = "send-result",
        [DIALOG_SEND_ERROR] = "send-error",
        [DIALOG_GOT_STARTED] = "got-started",
        [DIALOG_GOT_NEXT] = "got-next",
        [DIALOG_GOT_CREDIT] = "got-credit",
        [DIALOG_GOT_STOP] = "got-stop",
        [DIALOG_GOT_CANCEL] = "got-cancel",
        [DIALOG_GOT_RESULT] = "got-result",
        [DIALOG_GOT_ERROR] = "got-error",
        [DIALOG_LOST] = "lost",
        [DIALOG_EXPIRED] = "expired",
};

static const char *const verdict_names[_DIALOG_VERDICT_MAX] = {
        [DIALOG_DO] = "do",
        [DIALOG_DROP] = "drop",
        [DIALOG_FAULT] = "fault",
        [DIALOG_BREAK] = "break",
};
/* clang-format on */

const char *dialog_state_to_string(DialogState state)
{
        return (size_t) state < _DIALOG_STATE_MAX ? state_names[state] : NULL;
}

const char *dialog_event_to_string(DialogEvent event)
{
        return (size_t) event < _DIALOG_EVENT_MAX ? event_names[event] : NULL;
}

const char *dialog_verdict_to_string(DialogVerdict verdict)
{
        return (size_t) verdict < _DIALOG_VERDICT_MAX ? verdict_names[verdict] : NULL;
}

static void open_window(DialogWindow *w, int64_t credit)
{
        w->credit = w->size = credit;
}

void dialog_init(Dialog *d, DialogRole role, bool plain, int64_t credit)
{
        *d = (Dialog){ .role = role, .plain = plain };
        if (!plain)
                open_window(role == DIALOG_OPENER ? &d->in : &d->out,
                                credit < 0 ? DIALOG_CREDIT_DEFAULT : credit);
}

/* A plain call has no middle, and its result needs no $/started. */
static Rule plain_rule(const Dialog *d, DialogEvent event, Rule rule)
{
        switch (event) {
        case DIALOG_SEND_STARTED:
        case DIALOG_SEND_NEXT:
        case DIALOG_SEND_CREDIT:
        case DIALOG_SEND_STOP:
                return (Rule) NEVER(d->state, EPROTO);
        case DIALOG_GOT_STARTED:
        case DIALOG_GOT_NEXT:
        case DIALOG_GOT_CREDIT:
        case DIALOG_GOT_STOP:
                if (d->state == DIALOG_ENDED)
                        return rule;
                return (Rule) WRONG(d->state, "the call was not opened as a dialog");
        case DIALOG_SEND_RESULT:
                return d->role == DIALOG_CALLEE && d->state == DIALOG_OPENING ? (Rule) GO(DIALOG_ENDED)
                                                                              : rule;
        case DIALOG_GOT_RESULT:
                return d->role == DIALOG_OPENER && d->state == DIALOG_OPENING ? (Rule) GO(DIALOG_ENDED)
                                                                              : rule;
        default:
                return rule;
        }
}

static void add_credit(DialogWindow *w, int64_t n)
{
        w->credit = w->credit > DIALOG_CREDIT_MAX - n ? DIALOG_CREDIT_MAX : w->credit + n;
}

static Rule send_next(Dialog *d, Rule rule)
{
        if (d->out.stopped)
                return (Rule) NEVER(d->state, EPIPE);
        if (d->out.credit == 0)
                return (Rule) NEVER(d->state, EAGAIN);
        d->out.credit--;
        return rule;
}

static Rule got_next(Dialog *d, Rule rule)
{
        if (d->in.stopped)
                return (Rule) WRONG(d->state, "$/next after $/stop");
        if (d->in.credit == 0)
                return (Rule) WRONG(d->state, "$/next without credit");
        d->in.credit--;
        return rule;
}

static Rule got_stop(Dialog *d, Rule rule)
{
        if (d->in.stopped)
                return (Rule) WRONG(d->state, "$/stop came twice");
        d->in.stopped = true;
        return rule;
}

/* What an allowed event does besides moving the state; it may still find fault. */
static Rule apply(Dialog *d, DialogEvent event, int64_t n, Rule rule)
{
        switch (event) {
        case DIALOG_SEND_STARTED:
                if (d->started)
                        return (Rule) NEVER(d->state, EALREADY);
                d->started = true;
                open_window(&d->in, n);
                return rule;
        case DIALOG_GOT_STARTED:
                d->started = true;
                open_window(&d->out, n);
                return rule;
        case DIALOG_SEND_NEXT:
                return send_next(d, rule);
        case DIALOG_GOT_NEXT:
                return got_next(d, rule);
        case DIALOG_SEND_STOP:
                if (d->out.stopped)
                        return (Rule) NEVER(d->state, EALREADY);
                d->out.stopped = true;
                return rule;
        case DIALOG_GOT_STOP:
                return got_stop(d, rule);
        case DIALOG_SEND_CREDIT:
                add_credit(&d->in, n);
                return rule;
        case DIALOG_GOT_CREDIT:
                add_credit(&d->out, n);
                return rule;
        default:
                return rule;
        }
}

int dialog_step(Dialog *d, DialogEvent event, int64_t n, const char **ret_why)
{
        Rule rule = d->role == DIALOG_OPENER ? opener[d->state][event] : callee[d->state][event];

        assert(n >= 0);
        if (d->plain)
                rule = plain_rule(d, event, rule);
        if (rule.verdict == DIALOG_DO)
                rule = apply(d, event, n, rule);
        d->state = rule.next;
        if (ret_why && rule.why)
                *ret_why = rule.why;
        return rule.verdict;
}

bool dialog_takes_items(const Dialog *d)
{
        return !d->plain && !d->in.stopped && d->state == DIALOG_OPEN;
}
