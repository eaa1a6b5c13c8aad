/* SPDX-License-Identifier: Apache-2.0 */
/* Resources that are shared by name: who opens, who waits, who closes, and who is told. */
#include <errno.h>

#include "draw.h"
#include "tractor/tractor.h"

static void run(int (*body)(void *))
{
        CHECK_EQ(tractor_run(NULL, body, NULL), 0);
}

static void settle(void)
{
        for (unsigned i = 0; i < 4; i++)
                CHECK_EQ(tractor_checkpoint(), 0);
}

/* --- a resource that can be watched and held up --- */
typedef struct Resource {
        tractor_event *may_open; /* NULL: at once */
        int opens_with, closes_with;
        unsigned n_opening, n_open, n_opened, n_closed, n_cancelled, n_destroyed;
        const char *last;
} Resource;

static int serve(tractor_entry *e, void *userdata)
{
        Resource *x = userdata;
        int r = 0;

        CHECK_EQ(x->n_opening + x->n_open, 0); /* one at a time */
        x->n_opening++;
        if (x->may_open)
                r = tractor_event_wait(x->may_open);
        x->n_opening--;
        x->n_cancelled += r == -ECANCELED;
        if (r < 0)
                return r;
        if (x->opens_with < 0)
                return tractor_fail("Shut", "it does not open");
        x->n_opened++;
        x->n_open++;
        r = tractor_cache_serve(e, x);
        x->n_open--;
        x->n_closed++;
        return x->closes_with < 0 ? tractor_fail("Stuck", "it does not close") : r;
}

static void destroyed(void *userdata)
{
        ((Resource *) userdata)->n_destroyed++;
}

/* --- a task that wants it --- */
typedef struct User {
        tractor_cache *cache;
        Resource *resource;
        tractor_scope *scope;
        tractor_event *leave; /* NULL: at once */
        bool has, over;
        int r;
        const char *type; /* of its error */
} User;

static int use(void *userdata)
{
        TRACTOR_CLEANUP(tractor_lease_freep) tractor_lease *lease = NULL;
        User *u = userdata;
        int r;

        u->scope = tractor_scope_open();
        r = u->r = tractor_maybe_open(u->cache, "it", serve, u->resource, destroyed, &lease);
        if (r >= 0) {
                CHECK(tractor_lease_value(lease) == u->resource);
                CHECK_EQ(u->resource->n_open, 1);
                u->has = true;
                if (u->leave)
                        (void) tractor_event_wait(u->leave);
                CHECK_EQ(u->resource->n_open, 1);
                u->has = false;
        } else if (r != -ECANCELED)
                u->type = strdup(tractor_error_type(tractor_last_error()));
        u->over = true;
        (void) tractor_scope_close(TAKE_PTR(u->scope), r);
        return 0;
}

static void start(tractor_nursery *n, User *u, tractor_cache *c, Resource *x, tractor_event *leave)
{
        *u = (User){ .cache = c, .resource = x, .leave = leave };
        CHECK_EQ(tractor_start_task(n, "user", use, u, NULL), 0);
}

/* --- sharing --- */
static int shares(void *unused)
{
        TRACTOR_NURSERY(n);
        tractor_event *open = tractor_event_new(), *leave = tractor_event_new(), *last = tractor_event_new();
        Resource x = { .may_open = open };
        tractor_cache *c;
        User u[6];

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_cache_new(n, &c), 0);
        for (unsigned i = 0; i < 5; i++)
                start(n, &u[i], c, &x, i == 4 ? last : leave);
        settle();
        CHECK_EQ(x.n_opening, 1);
        CHECK_EQ(x.n_destroyed, 0); /* nobody knows yet which of them are not needed */
        tractor_event_set(open);
        settle();
        for (unsigned i = 0; i < 5; i++) {
                CHECK(u[i].has);
                CHECK_EQ(u[i].r, i == 0);
        }
        start(n, &u[5], c, &x, leave); /* late */
        settle();
        CHECK(u[5].has && u[5].r == 0);
        tractor_event_set(leave);
        settle();
        CHECK_EQ(x.n_closed, 0);
        CHECK_EQ(x.n_destroyed, 5);
        tractor_event_set(last);
        settle();
        CHECK_EQ(x.n_closed, 1);
        CHECK_EQ(x.n_opened, 1);
        CHECK_EQ(tractor_cache_n_entries(c), 0);
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        CHECK_EQ(x.n_destroyed, 6);
        tractor_cache_free(c);
        tractor_event_free(open);
        tractor_event_free(leave);
        tractor_event_free(last);
        return 0;
}

static void the_first_opens_and_the_last_closes(void)
{
        run(shares);
}

/* --- failures --- */
static int fails_to_open(void *unused)
{
        TRACTOR_NURSERY(n);
        Resource x = { .opens_with = -1 };
        tractor_cache *c;
        User u[3];

        x.may_open = tractor_event_new();
        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_cache_new(n, &c), 0);
        for (unsigned i = 0; i < 3; i++)
                start(n, &u[i], c, &x, NULL);
        settle();
        tractor_event_set(x.may_open);
        settle();
        for (unsigned i = 0; i < 3; i++) {
                CHECK_EQ(u[i].r, -EREMOTEIO);
                CHECK_STR(u[i].type, "Shut");
                free((char *) u[i].type);
        }
        CHECK_EQ(x.n_destroyed, 3);
        x.opens_with = 0; /* the next one has a chance of its own */
        start(n, &u[0], c, &x, NULL);
        settle();
        CHECK_EQ(u[0].r, 1);
        CHECK_EQ(tractor_nursery_close(&n, 0), 0); /* it was no failure of the nursery */
        tractor_cache_free(c);
        tractor_event_free(x.may_open);
        return 0;
}

static void all_who_wait_are_told_of_a_failure(void)
{
        run(fails_to_open);
}

static int fails_to_close(void *unused)
{
        TRACTOR_NURSERY(n);
        Resource x = { .closes_with = -1 };
        tractor_cache *c;
        User u;

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_cache_new(n, &c), 0);
        start(n, &u, c, &x, NULL);
        CHECK_EQ(tractor_nursery_close(&n, 0), -EREMOTEIO);
        CHECK_STR(tractor_error_type(tractor_last_error()), "Stuck");
        CHECK_EQ(u.r, 1);
        tractor_cache_free(c);
        return 0;
}

static void a_failure_at_the_end_is_the_nurserys(void)
{
        run(fails_to_close);
}

static int never_serves(tractor_entry *e, void *userdata)
{
        return 0;
}

static int forgets(void *unused)
{
        TRACTOR_NURSERY(n);
        tractor_lease *lease;
        tractor_cache *c;

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_cache_new(n, &c), 0);
        CHECK_EQ(tractor_maybe_open(c, "it", never_serves, NULL, NULL, &lease), -EPROTO);
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        tractor_cache_free(c);
        return 0;
}

static void who_never_serves_is_told_so(void)
{
        run(forgets);
}

/* --- cancellation --- */
static int opener_leaves(void *unused)
{
        TRACTOR_NURSERY(n);
        Resource x = { 0 };
        tractor_cache *c;
        User u[3];

        x.may_open = tractor_event_new();
        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_cache_new(n, &c), 0);
        for (unsigned i = 0; i < 3; i++)
                start(n, &u[i], c, &x, NULL);
        settle();
        tractor_scope_cancel(u[0].scope, "not any more");
        settle();
        CHECK_EQ(u[0].r, -ECANCELED);
        CHECK_EQ(x.n_opening, 1); /* it goes on for the others */
        tractor_event_set(x.may_open);
        settle();
        CHECK(u[1].over && u[1].r == 0 && u[2].over && u[2].r == 0);
        CHECK_EQ(x.n_opened, 1);
        CHECK_EQ(x.n_cancelled, 0);
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        CHECK_EQ(x.n_destroyed, 3);
        tractor_cache_free(c);
        tractor_event_free(x.may_open);
        return 0;
}

static void an_opener_that_leaves_takes_nobody_with_him(void)
{
        run(opener_leaves);
}

static int all_leave(void *unused)
{
        TRACTOR_NURSERY(n);
        Resource x = { 0 };
        tractor_cache *c;
        User u[3];

        x.may_open = tractor_event_new();
        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_cache_new(n, &c), 0);
        start(n, &u[0], c, &x, NULL);
        start(n, &u[1], c, &x, NULL);
        settle();
        tractor_scope_cancel(u[0].scope, NULL);
        tractor_scope_cancel(u[1].scope, NULL);
        start(n, &u[2], c, &x, NULL); /* comes when opening is being given up: it is opened anew */
        CHECK_EQ(tractor_checkpoint(), 0);
        tractor_event_set(x.may_open);
        settle();
        CHECK_EQ(x.n_cancelled, 1);
        CHECK(u[2].over && u[2].r == 1);
        CHECK_EQ(x.n_opened, 1);
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        tractor_cache_free(c);
        tractor_event_free(x.may_open);
        return 0;
}

static void opening_is_given_up_when_nobody_waits(void)
{
        run(all_leave);
}

static int nursery_cancelled(void *unused)
{
        TRACTOR_NURSERY(around);
        TRACTOR_NURSERY(n);
        tractor_event *leave = tractor_event_new();
        Resource x = { 0 }, y = { 0 };
        tractor_lease *lease;
        tractor_cache *c;
        User user, waiter;

        y.may_open = tractor_event_new();
        CHECK_EQ(tractor_nursery_open(NULL, &around), 0);
        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_cache_new(n, &c), 0);
        start(around, &user, c, &x, leave);
        settle();
        CHECK(user.has);
        tractor_nursery_cancel(n, "enough");
        CHECK_EQ(tractor_maybe_open(c, "other", serve, &y, destroyed, &lease), -ECANCELED);
        CHECK_EQ(y.n_destroyed, 1);
        start(around, &waiter, c, &y, NULL);
        tractor_scope *shield = tractor_shield(TRACTOR_FOREVER);
        settle();
        CHECK_EQ(x.n_open, 1); /* not closed under him who uses it */
        CHECK(!waiter.over);   /* nor opened a second time */
        tractor_event_set(leave);
        settle();
        CHECK_EQ(x.n_closed, 1);
        CHECK_EQ(waiter.r, -EINTR);
        CHECK_STR(waiter.type, "Cancelled");
        free((char *) waiter.type);
        CHECK_EQ(tractor_scope_close(shield, 0), 0);
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        CHECK_EQ(tractor_nursery_close(&around, 0), 0);
        CHECK_EQ(y.n_destroyed, 2);
        tractor_cache_free(c);
        tractor_event_free(leave);
        tractor_event_free(y.may_open);
        return 0;
}

static void a_cancelled_nursery_waits_for_the_users(void)
{
        run(nursery_cancelled);
}

/* --- any schedule --- */
#define USERS 12U

static int opens_late(void *userdata)
{
        tractor_event *e = userdata;

        for (unsigned i = draw(4); i > 0; i--)
                if (tractor_checkpoint() < 0)
                        break;
        tractor_event_set(e);
        return 0;
}

static int one_round(void)
{
        TRACTOR_NURSERY(n);
        tractor_event *leave[3], *open = tractor_event_new();
        Resource x = { .may_open = open, .opens_with = draw(8) == 0 ? -1 : 0 };
        tractor_cache *c;
        User u[USERS] = { 0 };
        unsigned n_users = 0, n_shared = 0;

        for (unsigned i = 0; i < 3; i++)
                leave[i] = tractor_event_new();
        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_cache_new(n, &c), 0);
        CHECK_EQ(tractor_start_task(n, NULL, opens_late, open, NULL), 0);
        while (n_users < USERS) {
                switch (draw(4)) {
                case 0:
                        start(n, &u[n_users++], c, &x, leave[draw(3)]);
                        break;
                case 1:
                        tractor_scope_cancel(u[draw(USERS)].scope, NULL);
                        break;
                case 2:
                        tractor_event_set(leave[draw(3)]);
                        break;
                default:
                        CHECK_EQ(tractor_checkpoint(), 0);
                }
        }
        for (unsigned i = 0; i < 3; i++)
                tractor_event_set(leave[i]);
        CHECK_EQ(tractor_checkpoint(), 0);
        tractor_cache_free(c); /* what goes on, goes on */
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        for (unsigned i = 0; i < USERS; i++) {
                CHECK(u[i].over);
                CHECK(u[i].r >= 0 || u[i].r == -ECANCELED || (x.opens_with < 0 && u[i].r == -EREMOTEIO));
                n_shared += u[i].r == 0;
                free((char *) u[i].type);
        }
        CHECK_EQ(x.n_opened, x.n_closed);
        CHECK_EQ(x.n_destroyed, USERS);
        for (unsigned i = 0; i < 3; i++)
                tractor_event_free(leave[i]);
        tractor_event_free(open);
        return (int) n_shared;
}

static int random_rounds(void *unused)
{
        int shared = 0;

        for (unsigned i = 0; i < 500; i++)
                shared += one_round();
        CHECK(shared > 500);
        return 0;
}

static void any_schedule_opens_and_closes_in_pairs(void)
{
        draw_begin(6);
        run(random_rounds);
}

TEST_MAIN({ "the_first_opens_and_the_last_closes", the_first_opens_and_the_last_closes },
                { "all_who_wait_are_told_of_a_failure", all_who_wait_are_told_of_a_failure },
                { "a_failure_at_the_end_is_the_nurserys", a_failure_at_the_end_is_the_nurserys },
                { "who_never_serves_is_told_so", who_never_serves_is_told_so },
                { "an_opener_that_leaves_takes_nobody_with_him",
                                an_opener_that_leaves_takes_nobody_with_him },
                { "opening_is_given_up_when_nobody_waits", opening_is_given_up_when_nobody_waits },
                { "a_cancelled_nursery_waits_for_the_users", a_cancelled_nursery_waits_for_the_users },
                { "any_schedule_opens_and_closes_in_pairs", any_schedule_opens_and_closes_in_pairs });
