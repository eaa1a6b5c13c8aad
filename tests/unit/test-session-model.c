/* SPDX-License-Identifier: Apache-2.0 */
/* Two sessions, and between them a line that cuts and delays bytes as it likes (session-pump.h). Both ends do anything,
 * also from within callbacks: they open calls and dialogs, send items and tells, take, stop, cancel, answer, and at times
 * one frees its session or the connection goes. An oracle of a few counters says what has to come of it: items in order,
 * none twice, each missing one told; one end of every call, and which.
 *
 *      test-session-model [SEED [SEQUENCES]]
 *
 * A failure names the seed that repeats the one sequence it happened in. */
#include <signal.h>

#include "session-model.h"
#include "wire/stream-internal.h"

/* Instrumented ones take their time; other seeds than these are found by hand. */
#ifdef __SANITIZE_ADDRESS__
#define SEQUENCES 5000
#else
#define SEQUENCES 20000
#endif
#define ACTIONS_MAX 160

/* --- actions --- */

static void act_open(End *e)
{
        Talked *t = &talks[n_talks];
        ItemOptions items = { .credit = chance(30) ? 0 : (int64_t) (1 + draw(70)),
                .overrun = (MessageOverrun) draw(3),
                .manual = chance(40) };
        CallOptions o = { .ctx = chance(80), .items = items, .deadline_ms = chance(3) ? 1 : 0 };
        Json *params = NULL;
        int64_t id;

        if (n_talks == DIALOGS_MAX || e->freed)
                return;
        CHECK_EQ(json_pack(&params, "[i]", (int) n_talks), 0);
        *t = (Talked){
                .opener = e, .callee = &ends[1 - e->index], .dialog = o.ctx, .deadline = o.deadline_ms > 0
        };
        t->down = (Lane){ .manual = items.manual,
                .window = items.credit ?: 64,
                .drops = items.overrun == OVERRUN_DROP_OLDEST };
        t->asked_usec = now_usec(CLOCK_MONOTONIC);
        n_talks++;
        id = session_call(e->session, "m", params, &o, &reply_vtable, t);
        if (id < 0) {
                /* The acceptor's peer has to have said hello. */
                CHECK((id == -EPIPE && lost()) || (id == -EOPNOTSUPP && e->index == 1));
                t->n_replies = 1;
                t->id = -1;
        } else {
                CHECK_EQ(id % 2, 1 - e->index);
                t->id = id;
                n_calls++;
        }
}

static void act_start(Talked *t)
{
        ItemOptions o = {
                .credit = (int64_t) (1 + draw(70)), .overrun = (MessageOverrun) draw(3), .manual = chance(40)
        };
        bool takes = chance(80);
        int r;

        if (!t->call)
                return;
        r = call_started(t->call, item(0), takes ? &up_vtable : NULL, &o);
        if (r == 0) {
                CHECK(t->dialog && !t->started);
                t->started = true;
                t->up.manual = o.manual;
                t->up.window = takes ? o.credit : 0;
                t->up.drops = takes && o.overrun == OVERRUN_DROP_OLDEST;
        } else
                CHECK((r == -EALREADY && t->started) || (r == -EPROTO && !t->dialog) ||
                                (r == -EPIPE && (t->n_told > 0 || lost())));
}

static int send_item(Talked *t, bool down, bool offer)
{
        Json *v = item((down ? &t->down : &t->up)->offered + 1);

        if (down)
                return offer ? call_offer(t->call, v) : call_next(t->call, v);
        return offer ? session_offer(t->opener->session, t->id, v)
                     : session_next(t->opener->session, t->id, v);
}

static bool may_speak(const Talked *t, bool down)
{
        return down ? t->call != NULL : t->id > 0 && !t->opener->freed;
}

static int act_item(Talked *t, bool down)
{
        Lane *l = down ? &t->down : &t->up;
        bool offer = chance(50);
        int r;

        if (!may_speak(t, down))
                return -EPIPE;
        r = send_item(t, down, offer);
        switch (r) {
        case 0:
                CHECK(t->started && !l->stop_said);
                l->accepted = ++l->offered;
                break;
        case -EAGAIN:
                l->offered += offer;
                break;
        case -ENOBUFS:
                t->overran[down] = true;
                if (!down)
                        t->cancelled = true;
                break;
        default:
                CHECK(r == -EPIPE || r == -EPROTO || r == -ENOENT);
                CHECK(r != -ENOENT || t->n_replies > 0);
        }
        return r;
}

static void act_stop(Talked *t, bool down)
{
        Lane *l = down ? &t->down : &t->up;
        int r;

        if (!may_speak(t, down))
                return;
        r = down ? call_stop(t->call) : session_stop(t->opener->session, t->id);
        if (r == 0) {
                CHECK(!l->stop_said);
                l->stop_said = true;
        } else
                CHECK(r != -EALREADY || l->stop_said);
}

static void act_take(Talked *t, bool down)
{
        Lane *l = down ? &t->down : &t->up;
        uint64_t n = draw(l->untaken + 1);
        int r;

        if (!l->manual || !may_speak(t, !down))
                return;
        if (chance(5))
                CHECK(down ? session_took(t->opener->session, t->id, l->untaken + 1) < 0
                           : call_took(t->call, l->untaken + 1) < 0);
        r = down ? session_took(t->opener->session, t->id, n) : call_took(t->call, n);
        if (r == 0)
                l->untaken -= n;
        else
                CHECK(r == -EPIPE || r == -ENOENT);
}

static void act_cancel(Talked *t)
{
        if (t->id <= 0 || t->opener->freed)
                return;
        if (!t->deadline && !t->cancelled)
                t->asked_usec = now_usec(CLOCK_MONOTONIC);
        if (session_cancel(t->opener->session, t->id, "enough") == 0)
                t->cancelled = true;
}

static void act_tell(End *e)
{
        for (uint64_t n = chance(10) ? 300 : 1; n > 0 && !e->freed; n--) {
                Json *v = NULL;
                int r;

                CHECK_EQ(json_pack(&v, "[I]", e->told + 1), 0);
                r = session_notify(e->session, "tell", v);
                CHECK(r == 0 || r == -EAGAIN || (r == -EPIPE && lost()));
                e->told += r == 0;
                if (r < 0)
                        return;
        }
}

static void free_end(End *e)
{
        if (e->freed)
                return;
        e->freed = true;
        e->session = session_free(e->session);
}

static void act_on(Talked *t)
{
        bool down = chance(50);

        if (t->call && !t->started && chance(50)) {
                act_start(t);
                return;
        }
        switch (draw(40)) {
        case 0:
                act_start(t);
                break;
        case 1:
                act_cancel(t);
                break;
        case 2:
                act_stop(t, down);
                break;
        case 3:
                if (t->call)
                        answer(t);
                break;
        case 4:
        case 5:
        case 6:
        case 7:
                act_take(t, down);
                break;
        default:
                for (uint64_t n = 1 + draw(big ? 4 : 40); n > 0 && act_item(t, down) == 0; n--)
                        ;
        }
}

static void act(void)
{
        if (chance(8) || n_talks == 0)
                act_open(&ends[draw(2)]);
        else if (chance(4))
                act_tell(&ends[draw(2)]);
        else if (draw(3000) == 0)
                free_end(&ends[draw(2)]);
        else if (draw(3000) == 0)
                pump_cut(&pump);
        else
                act_on(&talks[draw(n_talks)]);
}

static void move(void)
{
        unsigned from = (unsigned) draw(2);
        size_t n = 1 + draw(chance(50) ? 40 : big ? 300000 : 6000);

        if (chance(50))
                (void) pump_take(&pump, from, n);
        else
                (void) pump_give(&pump, from, n);
}

/* --- the end of a sequence --- */

static void check_queues(void)
{
        for (int i = 0; i < 2; i++) {
                const Stream *s = ends[i].freed ? NULL : session_stream(ends[i].session);

                CHECK(!s || stream_queued(s) <= stream_output_max(s) * 4 + (big ? 1U << 20 : 4096U));
        }
}

static void run_dry(void)
{
        bool more = true;

        while (more) {
                more = false;
                for (unsigned i = 0; i < 2; i++)
                        while (pump_take(&pump, i, 1 << 18) + pump_give(&pump, i, 1 << 18) > 0)
                                more = true;
                while (sd_event_run(event, 0) > 0)
                        more = true;
        }
}

/* Each end has queued so much of what the other asked for that it reads no more: nothing moves, and after the stall limit
 * the connection is cut. When that comes to be is a matter of how long turns take, so the limit is not waited for. */
static bool both_are_choked(void)
{
        for (int i = 0; i < 2; i++)
                if (lost() || !session_stream(ends[i].session) || !session_stream(ends[i].session)->choked)
                        return false;
        return true;
}

static void run_dry_or_stall(void)
{
        run_dry();
        if (!both_are_choked())
                return;
        n_stalls++;
        pump_cut(&pump);
        run_dry();
}

/* All is delivered and all is taken: no credit may have got lost on the way. */
static void check_flow(Talked *t, bool down)
{
        Lane *l = down ? &t->down : &t->up;

        if (!t->dialog || !t->started || t->cancelled || t->n_told > 0 || t->answered || l->stop_said ||
                        t->overran[0] || t->overran[1] || l->window == 0 || lost())
                return;
        if (!t->call || t->n_replies > 0)
                return;
        CHECK_EQ(act_item(t, down), 0);
        run_dry();
        if (t->n_told == 0)
                CHECK_EQ(l->last, l->offered);
}

static void take_all(void)
{
        for (size_t i = 0; i < n_talks; i++)
                for (int down = 0; down < 2; down++) {
                        Lane *l = down ? &talks[i].down : &talks[i].up;

                        if (l->untaken == 0 || !may_speak(&talks[i], !down))
                                continue;
                        if ((down ? session_took(talks[i].opener->session, talks[i].id, l->untaken)
                                  : call_took(talks[i].call, l->untaken)) == 0)
                                l->untaken = 0;
                }
}

static bool any_untaken(void)
{
        for (size_t i = 0; i < n_talks; i++)
                if ((talks[i].down.untaken > 0 && talks[i].n_replies == 0 && !talks[i].cancelled) ||
                                (talks[i].up.untaken > 0 && talks[i].call && talks[i].n_told == 0))
                        return !lost();
        return false;
}

static void settle(void)
{
        settled = true;
        do {
                run_dry_or_stall();
                take_all();
                run_dry_or_stall();
        } while (any_untaken());
        for (size_t i = 0; i < n_talks; i++) {
                check_flow(&talks[i], false);
                check_flow(&talks[i], true);
        }
        for (size_t i = 0; i < n_talks; i++)
                if (talks[i].call)
                        answer(&talks[i]);
        run_dry_or_stall();
        /* What was on the way when one end went has come; now the other hears of it. */
        if (lost())
                pump_cut(&pump);
        run_dry();
        for (size_t i = 0; i < n_talks; i++) {
                if (!talks[i].opener->freed)
                        CHECK_EQ(talks[i].n_replies, 1);
                CHECK(!talks[i].call);
        }
        for (int i = 0; i < 2 && !lost(); i++)
                CHECK_EQ(ends[i].heard, ends[1 - i].told);
}

static void sequence(void)
{
        int fds[2];

        n_talks = 0;
        settled = false;
        big = draw(300) == 0;
        CHECK(sd_event_new(&event) >= 0);
        pump_init(&pump, fds);
        for (unsigned i = 0; i < 2; i++) {
                const SessionOptions o = { .connector = i == 0, .hello = i == 0, .peer_path = "/peer" };

                ends[i] = (End){ .index = i };
                CHECK_EQ(session_new(event, fds[i], &o, &vtable, &ends[i], &ends[i].session), 0);
                if (!big)
                        stream_set_output_max(
                                        session_stream(ends[i].session), 20000, STREAM_STALL_USEC_DEFAULT);
        }
        for (uint64_t n = 10 + draw(ACTIONS_MAX); n > 0; n--) {
                if (chance(60))
                        act();
                for (uint64_t k = draw(4); k > 0; k--)
                        chance(50) ? move() : (void) sd_event_run(event, 0);
                check_queues();
        }
        settle();
        for (int i = 0; i < 2; i++)
                free_end(&ends[i]);
        pump_done(&pump);
        event = sd_event_unref(event);
}

static void say_seed(int signo)
{
        char text[80];
        int n = snprintf(text, sizeof(text), "repeat with: test-session-model %" PRIu64 " 1\n", seed);

        (void) !write(STDERR_FILENO, text, (size_t) n);
}

int main(int argc, char **argv)
{
        uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 0) : 1,
                 sequences = argc > 2 ? strtoull(argv[2], NULL, 0) : SEQUENCES;

        (void) signal(SIGABRT, say_seed);
        fprintf(stderr, "seeds %" PRIu64 " to %" PRIu64 "\n", first, first + sequences - 1);
        for (seed = first; seed < first + sequences; seed++) {
                rng = seed * 0x9e3779b97f4a7c15ULL | 1;
                (void) draw(1);
                sequence();
        }
        fprintf(stderr, "%zu calls, %zu items, %zu lost, %zu cancels told, %zu stalls\n", n_calls, n_items,
                        n_lost_items, n_cancels, n_stalls);
        CHECK(n_items > sequences && n_lost_items > 0 && n_cancels > 0);
        return 0;
}
