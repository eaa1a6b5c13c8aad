/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "dialog/dialog.h"
#include "dialog/flight.h"
#include "test.h"

/* A dialog brought to `state` by the events of its role, with five credits each way once it is open. */
static Dialog in_state(DialogRole role, DialogState state, bool plain)
{
        Dialog d;

        dialog_init(&d, role, plain, 5);
        CHECK_EQ(d.state, DIALOG_OPENING);
        if (state != DIALOG_OPENING && !plain)
                CHECK_EQ(dialog_step(&d, role == DIALOG_OPENER ? DIALOG_GOT_STARTED : DIALOG_SEND_STARTED, 5,
                                         NULL),
                                DIALOG_DO);
        if (state == DIALOG_CANCELLING)
                CHECK_EQ(dialog_step(&d, role == DIALOG_OPENER ? DIALOG_SEND_CANCEL : DIALOG_GOT_CANCEL, 0,
                                         NULL),
                                DIALOG_DO);
        if (state == DIALOG_ENDED)
                CHECK_EQ(dialog_step(&d, role == DIALOG_OPENER ? DIALOG_GOT_RESULT : DIALOG_SEND_RESULT, 0,
                                         NULL),
                                DIALOG_DO);
        CHECK_EQ(d.state, state);
        return d;
}

/* What protocol §3 says of each event, in the order of DialogEvent: d do, l late, f fault, b break, p -EPROTO,
 * a -EALREADY, x -EPIPE; then the state after it, '.' the same, O open, C cancelling, E ended. */
typedef struct Expected {
        DialogRole role;
        DialogState state;
        bool plain;
        const char *cells;
} Expected;

static const Expected matrix[] = {
        /*                                      sent: started next credit stop cancel result error
         *                                      got:  started next credit stop cancel result error, lost, expired */
        { DIALOG_OPENER, DIALOG_OPENING, false, "p. p. d. p. dC p. p. dO bE f. bE f. bE dE dE p." },
        { DIALOG_OPENER, DIALOG_OPEN, false, "p. d. d. d. dC p. p. bE d. d. d. f. dE dE dE p." },
        { DIALOG_OPENER, DIALOG_CANCELLING, false, "p. x. x. x. l. p. p. l. l. l. l. f. dE dE dE dE" },
        { DIALOG_OPENER, DIALOG_ENDED, false, "p. x. x. x. l. p. p. l. l. l. l. l. l. l. l. l." },
        { DIALOG_CALLEE, DIALOG_OPENING, false, "dO p. p. p. p. p. dE f. f. d. f. dC f. f. dE p." },
        { DIALOG_CALLEE, DIALOG_OPEN, false, "a. d. d. d. p. dE dE f. d. d. d. dC f. f. dE p." },
        { DIALOG_CALLEE, DIALOG_CANCELLING, false, "a. x. x. x. p. dE dE f. l. l. l. l. f. f. dE p." },
        { DIALOG_CALLEE, DIALOG_ENDED, false, "x. x. x. x. p. l. l. l. l. l. l. l. l. l. l. l." },
        { DIALOG_OPENER, DIALOG_OPENING, true, "p. p. p. p. dC p. p. f. f. f. f. f. dE dE dE p." },
        { DIALOG_OPENER, DIALOG_CANCELLING, true, "p. p. p. p. l. p. p. f. f. f. f. f. dE dE dE dE" },
        { DIALOG_OPENER, DIALOG_ENDED, true, "p. p. p. p. l. p. p. l. l. l. l. l. l. l. l. l." },
        { DIALOG_CALLEE, DIALOG_OPENING, true, "p. p. p. p. p. dE dE f. f. f. f. dC f. f. dE p." },
        { DIALOG_CALLEE, DIALOG_CANCELLING, true, "p. p. p. p. p. dE dE f. f. f. f. l. f. f. dE p." },
        { DIALOG_CALLEE, DIALOG_ENDED, true, "p. p. p. p. p. l. l. l. l. l. l. l. l. l. l. l." },
};

static int verdict_of(char c)
{
        switch (c) {
        case 'd':
                return DIALOG_DO;
        case 'l':
                return DIALOG_DROP;
        case 'f':
                return DIALOG_FAULT;
        case 'b':
                return DIALOG_BREAK;
        case 'p':
                return -EPROTO;
        case 'a':
                return -EALREADY;
        case 'x':
                return -EPIPE;
        default:
                abort();
        }
}

static DialogState state_of(char c, DialogState same)
{
        return c == '.' ? same : c == 'O' ? DIALOG_OPEN : c == 'C' ? DIALOG_CANCELLING : DIALOG_ENDED;
}

static void every_pair(void)
{
        for (size_t i = 0; i < ELEMENTSOF(matrix); i++) {
                const Expected *e = &matrix[i];

                CHECK_EQ(strlen(e->cells), _DIALOG_EVENT_MAX * 3 - 1);
                for (int event = 0; event < _DIALOG_EVENT_MAX; event++) {
                        Dialog d = in_state(e->role, e->state, e->plain);
                        const char *cell = e->cells + 3 * event, *why = NULL;
                        int r = dialog_step(&d, (DialogEvent) event, 1, &why);

                        if (r != verdict_of(cell[0]) || d.state != state_of(cell[1], e->state)) {
                                fprintf(stderr, "row %zu, %s in %s: %d → %s\n", i,
                                                dialog_event_to_string((DialogEvent) event),
                                                dialog_state_to_string(e->state), r,
                                                dialog_state_to_string(d.state));
                                abort();
                        }
                        CHECK_EQ(r == DIALOG_FAULT || r == DIALOG_BREAK, why != NULL);
                }
        }
}

/* Whatever comes, in whatever order: an ended dialog stays ended, nothing but DO changes what is counted, credit
 * never goes below zero. */
static void random_events(void)
{
        enum { RUNS = 20000, STEPS = 40 };
        unsigned seed = 7;

        for (int run = 0; run < RUNS; run++) {
                Dialog d;

                dialog_init(&d, (DialogRole) (run & 1), (run & 6) == 0, rand_r(&seed) % 4);
                for (int i = 0; i < STEPS; i++) {
                        DialogEvent event = (DialogEvent) (rand_r(&seed) % _DIALOG_EVENT_MAX);
                        Dialog before = d;
                        int r = dialog_step(&d, event, rand_r(&seed) % 3, NULL);

                        CHECK(r < _DIALOG_VERDICT_MAX);
                        CHECK(before.state != DIALOG_ENDED || (d.state == DIALOG_ENDED && r != DIALOG_DO));
                        CHECK(d.out.credit >= 0 && d.in.credit >= 0);
                        if (r != DIALOG_DO)
                                CHECK(d.in.credit == before.in.credit && d.out.credit == before.out.credit);
                }
        }
}

static void items_cost_credit(void)
{
        Dialog d = in_state(DIALOG_CALLEE, DIALOG_OPEN, false);

        for (int i = 0; i < 5; i++)
                CHECK_EQ(dialog_step(&d, DIALOG_SEND_NEXT, 0, NULL), DIALOG_DO);
        CHECK_EQ(dialog_step(&d, DIALOG_SEND_NEXT, 0, NULL), -EAGAIN);
        CHECK_EQ(dialog_step(&d, DIALOG_GOT_CREDIT, 2, NULL), DIALOG_DO);
        CHECK_EQ(d.out.credit, 2);
        CHECK_EQ(dialog_step(&d, DIALOG_SEND_NEXT, 0, NULL), DIALOG_DO);
        CHECK_EQ(d.out.credit, 1);
}

static void items_may_come(void)
{
        Dialog d;

        dialog_init(&d, DIALOG_OPENER, false, 2);
        CHECK(!dialog_takes_items(&d));
        CHECK_EQ(dialog_step(&d, DIALOG_GOT_STARTED, 0, NULL), DIALOG_DO);
        CHECK(dialog_takes_items(&d));
        for (int i = 0; i < 2; i++)
                CHECK_EQ(dialog_step(&d, DIALOG_GOT_NEXT, 0, NULL), DIALOG_DO);
        CHECK_EQ(dialog_step(&d, DIALOG_GOT_NEXT, 0, NULL), DIALOG_FAULT);
        CHECK_EQ(dialog_step(&d, DIALOG_SEND_CREDIT, 1, NULL), DIALOG_DO);
        CHECK_EQ(dialog_step(&d, DIALOG_GOT_NEXT, 0, NULL), DIALOG_DO);
        CHECK_EQ(dialog_step(&d, DIALOG_GOT_STOP, 0, NULL), DIALOG_DO);
        CHECK(!dialog_takes_items(&d));
        dialog_init(&d, DIALOG_OPENER, true, 2);
        CHECK(!dialog_takes_items(&d));
}

/* Against a list of all sizes: never less than it, hardly more, and empty when it is. */
static void bytes_under_way(void)
{
        enum { STEPS = 200000, MAX = 4096 };
        static uint64_t sizes[MAX];
        unsigned seed = 3, first = 0, n = 0;
        uint64_t bytes = 0;
        Flight f = { 0 };

        for (int i = 0; i < STEPS; i++) {
                if (n < MAX && rand_r(&seed) % 3) {
                        uint64_t size = rand_r(&seed) % 10 ? 50 + rand_r(&seed) % 100 : rand_r(&seed) % 4096;

                        flight_add(&f, size);
                        sizes[(first + n++) % MAX] = size;
                        bytes += size;
                } else {
                        unsigned k = MIN(n, (unsigned) rand_r(&seed) % 64);

                        flight_credit(&f, k);
                        for (n -= k; k > 0; k--, first = (first + 1) % MAX)
                                bytes -= sizes[first];
                }
                CHECK_EQ(f.items, n);
                CHECK(f.bytes >= bytes && f.bytes <= bytes + bytes / 8 + 4096);
                CHECK(n > 0 || f.bytes == 0);
        }
        flight_credit(&f, UINT64_MAX);
        CHECK(f.items == 0 && f.bytes == 0 && f.n == 0);
}

/* A sender and a receiver that keep each to its own sums, with credit on its way between them: the sender never waits for
 * ever, and is never found to send too much. Random takers, every size of item and of line. */
static void windows_fit(void)
{
        enum { ROUNDS = 300, STEPS = 3000, MAX = 8192 };
        unsigned seed = 5;

        for (int round = 0; round < ROUNDS; round++) {
                uint64_t max_line = 1000 + (uint64_t) rand_r(&seed) % (round % 3 ? 1048576 : 130000),
                         size = 1 + (uint64_t) rand_r(&seed) % 300, credit = size, sent = 0,
                         on_way[2] = { 0 };
                Intake in = { 0 };
                Flight out = { 0 };

                for (int i = 0; i < STEPS; i++) {
                        unsigned what = (unsigned) rand_r(&seed) % 4;
                        uint64_t n;

                        if (what < 2 && credit > 0 && out.bytes < FLIGHT_BYTES_MAX) {
                                n = 1 + (uint64_t) rand_r(&seed) % (rand_r(&seed) % 4 ? max_line : 300);
                                flight_add(&out, n);
                                CHECK(intake_add(&in, n, max_line));
                                credit--;
                                sent++;
                        } else if (what == 2) {
                                n = in.untaken ? (uint64_t) rand_r(&seed) % (in.untaken + 1) : 0;
                                CHECK(intake_take(&in, n));
                        } else if (what == 3) { /* credit given a while ago arrives */
                                flight_credit(&out, on_way[0]);
                                credit += on_way[0];
                                on_way[0] = on_way[1];
                                on_way[1] = 0;
                        }
                        n = intake_due(&in, size);
                        if (n > 0)
                                intake_credited(&in, n);
                        on_way[1] += n;
                        CHECK(in.owed < MAX(size / 2, 1U) || in.owed == 0);
                        CHECK(in.owed == 0 || in.flight.bytes < FLIGHT_BYTES_MAX / 2);
                }
                CHECK(!intake_take(&in, in.untaken + 1));
                CHECK(intake_take(&in, in.untaken));
                on_way[1] += intake_due(&in, size);
                intake_credited(&in, intake_due(&in, size));
                flight_credit(&out, on_way[0] + on_way[1]);
                credit += on_way[0] + on_way[1];
                CHECK(out.bytes < FLIGHT_BYTES_MAX && sent > 0);
        }
}

static void a_window_is_bounded(void)
{
        Intake in = { 0 };
        uint64_t bytes = 0;

        for (; intake_add(&in, 100000, 1000000); bytes += 100000)
                ;
        CHECK(bytes >= FLIGHT_BYTES_MAX + 1000000 && bytes < FLIGHT_BYTES_MAX + 1200000);
        CHECK_EQ(in.untaken, bytes / 100000);
        CHECK_EQ(intake_due(&in, 64), 0);
        CHECK(intake_take(&in, 1));
        CHECK_EQ(intake_due(&in, 64), 1);
        in = (Intake){ 0 };
        CHECK(intake_add(&in, 10, 100) && intake_take(&in, 1));
        CHECK_EQ(intake_due(&in, 4), 0);
        CHECK_EQ(intake_due(&in, 2), 1);
        CHECK_EQ(intake_due(&in, 1), 1);
}

static void stop_is_said_once(void)
{
        Dialog d = in_state(DIALOG_CALLEE, DIALOG_OPEN, false);

        CHECK_EQ(dialog_step(&d, DIALOG_SEND_STOP, 0, NULL), DIALOG_DO);
        CHECK_EQ(dialog_step(&d, DIALOG_SEND_STOP, 0, NULL), -EALREADY);
        CHECK_EQ(dialog_step(&d, DIALOG_SEND_NEXT, 0, NULL), -EPIPE);
        CHECK_EQ(dialog_step(&d, DIALOG_GOT_NEXT, 0, NULL), DIALOG_DO);
        CHECK_EQ(dialog_step(&d, DIALOG_GOT_STOP, 0, NULL), DIALOG_DO);
        CHECK_EQ(dialog_step(&d, DIALOG_GOT_STOP, 0, NULL), DIALOG_FAULT);
        CHECK_EQ(dialog_step(&d, DIALOG_GOT_NEXT, 0, NULL), DIALOG_FAULT);
        CHECK_EQ(d.state, DIALOG_OPEN);
        CHECK_EQ(dialog_step(&d, DIALOG_SEND_RESULT, 0, NULL), DIALOG_DO);
}

/* A result that the callee had before it heard of the cancel still gets its $/started, once. */
static void result_wins_over_cancel(void)
{
        Dialog d = in_state(DIALOG_CALLEE, DIALOG_OPENING, false);

        CHECK_EQ(dialog_step(&d, DIALOG_GOT_CANCEL, 0, NULL), DIALOG_DO);
        CHECK_EQ(dialog_step(&d, DIALOG_SEND_STARTED, 0, NULL), DIALOG_DO);
        CHECK_EQ(d.state, DIALOG_CANCELLING);
        CHECK_EQ(dialog_step(&d, DIALOG_SEND_STARTED, 0, NULL), -EALREADY);
        CHECK_EQ(dialog_step(&d, DIALOG_SEND_RESULT, 0, NULL), DIALOG_DO);
        CHECK_EQ(d.state, DIALOG_ENDED);
}

static void credit_saturates(void)
{
        Dialog d = in_state(DIALOG_CALLEE, DIALOG_OPEN, false);

        for (int i = 0; i < 3; i++)
                CHECK_EQ(dialog_step(&d, DIALOG_GOT_CREDIT, INT64_MAX - 1, NULL), DIALOG_DO);
        CHECK_EQ(d.out.credit, DIALOG_CREDIT_MAX);
}

static void defaults_and_names(void)
{
        Dialog d;

        dialog_init(&d, DIALOG_CALLEE, false, -1);
        CHECK_EQ(d.out.credit, DIALOG_CREDIT_DEFAULT);
        dialog_init(&d, DIALOG_CALLEE, false, 0);
        CHECK_EQ(d.out.credit, 0);
        for (int i = 0; i < _DIALOG_STATE_MAX; i++)
                CHECK(dialog_state_to_string((DialogState) i));
        for (int i = 0; i < _DIALOG_EVENT_MAX; i++)
                CHECK(dialog_event_to_string((DialogEvent) i));
        for (int i = 0; i < _DIALOG_VERDICT_MAX; i++)
                CHECK(dialog_verdict_to_string((DialogVerdict) i));
        CHECK(!dialog_state_to_string(_DIALOG_STATE_INVALID) && !dialog_event_to_string(_DIALOG_EVENT_MAX));
}

TEST_MAIN({ "every_pair", every_pair }, { "random_events", random_events },
                { "items_cost_credit", items_cost_credit }, { "items_may_come", items_may_come },
                { "bytes_under_way", bytes_under_way }, { "windows_fit", windows_fit },
                { "a_window_is_bounded", a_window_is_bounded }, { "stop_is_said_once", stop_is_said_once },
                { "result_wins_over_cancel", result_wins_over_cancel },
                { "credit_saturates", credit_saturates }, { "defaults_and_names", defaults_and_names });
