/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The two ends of test-session-model.c, what each has seen and said, and what has to be true whenever one hears
 * something. */

#include "base/usec.h"
#include "dialog/session.h"
#include "session-pump.h"

#define DIALOGS_MAX 12

typedef struct End End;

/* The items from one end of a dialog to the other. */
typedef struct Lane {
        int64_t offered;  /* numbers used up: each was sent, queued, or dropped by an offer */
        int64_t accepted; /* the last that was sent or queued */
        int64_t last;     /* that came */
        int64_t window;
        uint64_t untaken;
        bool manual, stop_said, stop_came, drops;
} Lane;

typedef struct Talked {
        End *opener, *callee;
        int64_t id;
        bool dialog, deadline;
        uint64_t asked_usec; /* when its opener last had a reason to give it up some time later */
        Call *call;
        Lane down, up; /* to the opener, to the callee */
        int64_t value; /* of the result */
        int error;     /* what the callee said instead; 0: a result */
        bool answered, started, start_came, cancelled, overran[2];
        unsigned n_replies, n_told;
} Talked;

struct End {
        unsigned index;
        Session *session;
        bool freed, over;
        int64_t told, heard; /* tells */
};

static sd_event *event;
static Pump pump;
static End ends[2];
static Talked talks[DIALOGS_MAX];
static size_t n_talks;
static uint64_t rng, seed;
static unsigned nested;
static bool big, settled;
static size_t n_items, n_lost_items, n_calls, n_cancels, n_stalls;

static uint64_t draw(uint64_t n)
{
        rng ^= rng << 13;
        rng ^= rng >> 7;
        rng ^= rng << 17;
        return (rng * 0x2545f4914f6cdd1dULL >> 20) % n;
}

static bool chance(unsigned percent)
{
        return draw(100) < percent;
}

static void act(void);

/* Callbacks do things, too. */
static void react(void)
{
        if (nested >= 3 || settled || !chance(15))
                return;
        nested++;
        act();
        nested--;
}

static bool lost(void)
{
        return pump_lost(&pump) || ends[0].freed || ends[1].freed;
}

static Json *item(int64_t n)
{
        static char text[900001];
        Json *v = NULL;

        if (!text[0])
                memset(text, 'x', sizeof(text) - 1);
        if (big)
                CHECK_EQ(json_pack(&v, "{n:I, text:s}", n, text + draw(sizeof(text))), 0);
        else
                CHECK_EQ(json_pack(&v, "{n:I}", n), 0);
        return v;
}

/* --- what comes to the opener --- */

static void lane_next(Lane *l, Json *value, uint64_t missing)
{
        int64_t n = json_get_integer(value, "n", -1);

        CHECK(!l->stop_came);
        CHECK(n > l->last && n <= l->offered);
        CHECK_EQ(n - l->last - 1, missing);
        l->last = n;
        l->untaken += l->manual;
        CHECK((int64_t) l->untaken <= l->window);
        n_items++;
        n_lost_items += missing;
}

/* Before the end of its items all have come that could. */
static void lane_stop(Lane *l)
{
        CHECK(l->stop_said && !l->stop_came);
        l->stop_came = true;
        CHECK_EQ(l->last, l->accepted);
}

static void down_next(Json *value, uint64_t missing, void *userdata)
{
        Talked *t = userdata;

        CHECK(t->start_came && !t->cancelled && t->n_replies == 0);
        lane_next(&t->down, value, missing);
        react();
}

static void down_stop(void *userdata)
{
        CHECK(!((Talked *) userdata)->cancelled);
        lane_stop(&((Talked *) userdata)->down);
        react();
}

static void on_room(void *userdata)
{
        react();
}

static void on_started(Json *value, void *userdata)
{
        Talked *t = userdata;

        CHECK(t->dialog && t->started && !t->start_came && !t->cancelled);
        t->start_came = true;
        react();
}

/* The code that has to come; 0: a result. */
static int due_code(const Talked *t)
{
        if (t->overran[0] || t->overran[1])
                return -32006;
        return t->error;
}

/* Its opener waits for a deadline, or a cancel, to be answered for so long and no longer. A sequence is over by then, unless the
 * machine has other things to do. */
static bool is_given_up(const Talked *t, Json *error)
{
        if (!json_get_boolean(json_get(error, "data"), "abandoned", false))
                return false;
        CHECK(now_usec(CLOCK_MONOTONIC) >= t->asked_usec + SESSION_GRACE_MS * USEC_PER_MSEC);
        CHECK(json_get_integer(error, "code", 0) == -32007 ? t->deadline : t->cancelled);
        return true;
}

static void on_reply(Json *result, Json *error, int *fds, size_t n_fds, void *userdata)
{
        Talked *t = userdata;
        int code = (int) json_get_integer(error, "code", 0);

        CHECK(!t->opener->freed);
        CHECK_EQ(++t->n_replies, 1);
        if (is_given_up(t, error))
                t->cancelled = true;
        else if (code == -32015)
                CHECK(lost());
        else if (code == -32007 && t->deadline)
                /* Else it waited for the callee's hello all its time. */
                CHECK(t->answered ? t->error == -32800 : !t->call);
        else {
                CHECK(t->answered || t->overran[0]);
                CHECK_EQ(code, due_code(t));
                if (code == 0)
                        CHECK_EQ(json_integer(result), t->value);
                /* What a receiver asks to be spared, may be in the sender's queue at the end. */
                if (code == 0 && t->dialog && !t->cancelled && !t->down.drops)
                        CHECK_EQ(t->down.last, t->down.accepted);
        }
        react();
}

static const ReplyVtable reply_vtable = { on_reply, on_started, { down_next, down_stop, on_room } };

/* --- what comes to the callee --- */

static void up_next(Json *value, uint64_t missing, void *userdata)
{
        Talked *t = userdata;

        CHECK(t->started && t->call && t->n_told == 0);
        lane_next(&t->up, value, missing);
        react();
}

static void up_stop(void *userdata)
{
        lane_stop(&((Talked *) userdata)->up);
        react();
}

static const ItemVtable up_vtable = { up_next, up_stop, on_room };

static void answer(Talked *t)
{
        Call *call = TAKE_PTR(t->call);

        t->answered = true;
        t->value = (int64_t) draw(1000);
        t->error = chance(60) ? 0 : t->n_told > 0 && chance(70) ? -32800 : -32004;
        if (t->dialog && t->error == 0)
                t->started = true;
        if (t->error < 0)
                call_fail(call, t->error, NULL, "no");
        else {
                Json *v = NULL;

                CHECK_EQ(json_pack(&v, "I", t->value), 0);
                call_reply(call, v, NULL, 0);
        }
}

static void on_cancel(Call *c, void *userdata)
{
        Talked *t = userdata;

        CHECK(t->call == c);
        CHECK_EQ(++t->n_told, 1);
        CHECK(t->cancelled || t->deadline || t->overran[0] || lost());
        n_cancels++;
        if (chance(50))
                answer(t);
        react();
}

static void on_request(Session *s, Call *call, const Message *m, void *userdata)
{
        Talked *t = &talks[json_integer(json_item(m->params, 0))];

        CHECK(t->callee == userdata && !t->call && !t->answered);
        CHECK_EQ(call_is_dialog(call), t->dialog);
        t->call = call;
        call_set_userdata(call, t, on_cancel);
        react();
}

static void on_notification(Session *s, const Message *m, void *userdata)
{
        End *e = userdata;

        CHECK_EQ(json_integer(json_item(m->params, 0)), ++e->heard);
        CHECK(e->heard <= ends[1 - e->index].told);
        react();
}

static void on_end(Session *s, void *userdata)
{
        End *e = userdata;

        CHECK(!e->over && lost());
        e->over = true;
}

static const SessionVtable vtable = {
        .on_request = on_request, .on_notification = on_notification, .on_end = on_end
};
