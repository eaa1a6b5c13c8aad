/* SPDX-License-Identifier: Apache-2.0 */
/* All that a task can wait for of another actor, at once, while something happens to that actor, to what runs the tree, or to who
 * waits. Everybody is told soon, by the right name; nothing is left. $BACKEND chooses where actors live. */
#include <sys/wait.h>

#include "actors-rig.h"
#include "handlers.h"

static tractor_options options;

/* --- what the victim does --- */
static int ponders(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        return tractor_sleep_forever();
}

static int silent(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        int r = tractor_context_started(ctx, NULL, NULL);

        return r < 0 ? r : tractor_sleep_forever();
}

static int tears(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        CHECK(rig_tear(false) > 0);
        return 0;
}

static int tears_channel(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        CHECK_EQ(rig_tear(true), 1);
        return tractor_sleep_forever();
}

/* --- all ways to wait for it --- */
typedef struct Wait {
        tractor_portal *portal;
        uint64_t deadline;    /* of one call, from when it is made; 0: none */
        tractor_scope *scope; /* of all that is waited for, while it is */
        int (*wait)(struct Wait *w);
        int r;
        tractor_error *error;
        const char *name;
} Wait;

static int call(Wait *w)
{
        (void) tractor_task_started(NULL);
        return tractor_portal_call(w->portal, "ponders", NULL, NULL);
}

static int call_with_deadline(Wait *w)
{
        tractor_call_options o = { .size = sizeof(o), .deadline_usec = w->deadline };

        (void) tractor_task_started(NULL);
        return tractor_portal_call_with(w->portal, "ponders", NULL, &o, NULL);
}

static int tell(Wait *w)
{
        int r = 0;

        while (r >= 0)
                r = tractor_portal_try_tell(w->portal, "ponders", NULL);
        CHECK_EQ(r, -EAGAIN);
        (void) tractor_task_started(NULL);
        return tractor_portal_tell(w->portal, "ponders", NULL);
}

static int opening(Wait *w)
{
        tractor_context *c = NULL;

        (void) tractor_task_started(NULL);
        return tractor_context_open(w->portal, "ponders", NULL, NULL, &c, NULL);
}

static tractor_context *opened(Wait *w)
{
        tractor_context *c = NULL;

        CHECK_EQ(tractor_context_open(w->portal, "silent", NULL, NULL, &c, NULL), 0);
        return c;
}

/* A stream that ends says only that; how, is said where the dialog is left. */
static int receive(Wait *w)
{
        tractor_context *c = opened(w);
        struct json_object *item;
        int r;

        (void) tractor_task_started(NULL);
        r = tractor_receive(c, &item);
        CHECK(r == 0 || r == -ECANCELED);
        return tractor_context_close(&c, r, NULL);
}

static int sending(Wait *w)
{
        tractor_context *c = opened(w);
        int r = 0;

        while (r >= 0)
                r = tractor_try_send(c, NULL);
        CHECK_EQ(r, -EAGAIN);
        (void) tractor_task_started(NULL);
        r = tractor_send(c, NULL);
        CHECK(r == -EPIPE || r == -ECANCELED);
        return tractor_context_close(&c, r == -EPIPE ? 0 : r, NULL);
}

static int closing(Wait *w)
{
        tractor_context *c = opened(w);

        (void) tractor_task_started(NULL);
        return tractor_context_close(&c, 0, NULL);
}

#define WAITS 7
static int (*const waits[])(
                Wait *w) = { call, call_with_deadline, tell, opening, receive, sending, closing };
static const char *const wait_names[] = { "call", "call_with_deadline", "tell", "opening", "receive",
        "sending", "closing" };

static int wait_task(void *userdata)
{
        Wait *w = userdata;
        int r;

        w->scope = tractor_fail_after(TRACTOR_FOREVER);
        r = w->wait(w);
        w->r = tractor_scope_close(TAKE_PTR(w->scope), r);
        w->error = tractor_error_ref(tractor_last_error());
        return 0;
}

/* When this returns, all of them wait, and the victim has seen all that they sent it. */
static void wait_all(tractor_nursery *n, tractor_portal *p, uint64_t deadline, Wait *w)
{
        for (size_t i = 0; i < WAITS; i++) {
                w[i] = (Wait){ .portal = p, .deadline = deadline, .wait = waits[i], .name = wait_names[i] };
                CHECK_EQ(tractor_start(n, wait_names[i], wait_task, &w[i], NULL, NULL), 0);
        }
        CHECK_EQ(tractor_portal_call(p, "echo", NULL, NULL), 0);
}

/* From now on, however long it took until all waited. */
static void set_deadlines(Wait *w, uint64_t deadline)
{
        for (size_t i = 0; i < WAITS && deadline > 0; i++)
                if (w[i].scope)
                        tractor_scope_set_deadline(w[i].scope, tractor_now() + deadline);
}

/* Who has lost its supervisor ends by itself: what it still says, or doesn't, are both true. A tell finds room where others end. */
#define ANY 1

static bool is_any(const Wait *w)
{
        return w->r == -EINTR || w->r == -ESHUTDOWN || w->r == -ECONNRESET || w->r == -EOWNERDEAD ||
               (w->wait == tell && w->r == 0);
}

static void check_all(const Wait *w, int expected, const char *path, const char *signal)
{
        for (size_t i = 0; i < WAITS; i++) {
                const tractor_error *e = w[i].error;
                const char *by = json_object_get_string(
                                json_object_object_get(e ? tractor_error_exit(e) : NULL, "signal"));

                fprintf(stderr, "   %s: %s\n", w[i].name, e ? tractor_error_message(e) : strerror(-w[i].r));
                if (expected == ANY)
                        CHECK(is_any(&w[i]));
                else
                        CHECK_EQ(w[i].r, expected);
                if (path) {
                        CHECK(e);
                        CHECK_STR(tractor_error_actor(e), path);
                        CHECK(strstr(tractor_error_message(e), path));
                        CHECK_STR(by, signal);
                }
                tractor_error_unref(w[i].error);
        }
}

/* --- what happens to it --- */
typedef struct Fault {
        const char *name;
        void (*strike)(tractor_portal *p);
        int told;           /* to who waits */
        const char *signal; /* the victim's end that is told with it */
        int closed;         /* what its nursery comes to */
        uint64_t deadline;
} Fault;

static pid_t pid_of(tractor_portal *p)
{
        struct json_object *pid = NULL;
        pid_t n;

        CHECK_EQ(tractor_portal_call(p, "get_pid", NULL, &pid), 0);
        n = json_object_get_int(pid);
        CHECK(n > 1);
        json_object_put(pid);
        return n;
}

static void strike_kill(tractor_portal *p)
{
        CHECK_EQ(kill(pid_of(p), SIGKILL), 0);
}

static void strike_stop(tractor_portal *p)
{
        CHECK_EQ(kill(pid_of(p), SIGSTOP), 0);
}

static void strike_tear(tractor_portal *p)
{
        CHECK_EQ(tractor_portal_call(p, "tears", NULL, NULL), -ECONNRESET);
}

static void strike_tear_channel(tractor_portal *p)
{
        CHECK(tractor_portal_call(p, "tears_channel", NULL, NULL) < 0);
}

static void strike_supervisor(tractor_portal *p)
{
        CHECK_EQ(kill(rig_supervisor(), SIGKILL), 0);
}

static void strike_keeper(tractor_portal *p)
{
        CHECK_EQ(kill(rig_keeper(), SIGKILL), 0);
}

static const Fault faults[] = {
        { "kill", strike_kill, -EOWNERDEAD, "SIGKILL", -EOWNERDEAD, 0 },
        { "stop", strike_stop, -ETIMEDOUT, NULL, 0, 300 * TRACTOR_MSEC },
        { "tear", strike_tear, -ECONNRESET, NULL, 0, 0 },
        { "tear_channel", strike_tear_channel, ANY, NULL, 0, 0 },
        { "supervisor", strike_supervisor, ANY, NULL, -ECONNRESET, 0 },
        { "keeper", strike_keeper, ANY, NULL, -ECONNRESET, 0 },
};

static const Fault *fault_by_name(const char *name)
{
        for (size_t i = 0; i < ELEMENTSOF(faults); i++)
                if (streq(faults[i].name, name))
                        return &faults[i];
        abort();
}

/* Its nursery doesn't go by the victim's end: those who wait are to see it by themselves. */
static int suffer_at(const Fault *f, tractor_portal *p)
{
        Wait w[WAITS];
        TRACTOR_NURSERY(n);
        int r;

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        wait_all(n, p, f->deadline, w);
        f->strike(p);
        set_deadlines(w, f->deadline);
        r = tractor_nursery_close(&n, 0);
        check_all(w, f->told, f->deadline || f->told == ANY ? NULL : tractor_portal_path(p), f->signal);
        return r;
}

static int suffer(const Fault *f)
{
        tractor_nursery_options keep = { .size = sizeof(keep), .strategy = "one_cancels_one" };
        tractor_actor_options quick = { .size = sizeof(quick), .grace_usec = 300 * TRACTOR_MSEC };
        tractor_portal *p = NULL;
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(&keep, &n), 0);
        CHECK_EQ(tractor_start_actor(n, "victim", &quick, &p), 0);
        CHECK_EQ(suffer_at(f, p), 0);
        tractor_portal_unref(p);
        tractor_nursery_cancel(n, "seen enough");
        CHECK_EQ(tractor_nursery_close(&n, 0), f->closed);
        return 0;
}

static int suffer_here(void *userdata)
{
        return suffer(fault_by_name(userdata));
}

/* --- the same with an actor in the root's place --- */
static int suffers(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        return suffer(fault_by_name(json_object_get_string(json_object_object_get(args, "fault"))));
}

/* Of an actor that is somebody else's. */
static int suffers_beside(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        tractor_portal *p = NULL;

        CHECK_EQ(tractor_connect_name("victim", &p), 0);
        CHECK_EQ(suffer_at(fault_by_name(json_object_get_string(json_object_object_get(args, "fault"))), p),
                        0);
        tractor_portal_unref(p);
        return 0;
}

static int suffer_in_actor(void *fault)
{
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_run_actor(n, "middle", "suffers", rig_object("fault", fault), NULL, NULL), 0);
        return tractor_nursery_close(&n, 0);
}

static int suffer_in_sibling(void *fault)
{
        tractor_nursery_options keep = { .size = sizeof(keep), .strategy = "one_cancels_one" };
        tractor_actor_options quick = { .size = sizeof(quick), .grace_usec = 300 * TRACTOR_MSEC };
        tractor_future *f = NULL;
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(&keep, &n), 0);
        CHECK_EQ(tractor_start_actor(n, "victim", &quick, NULL), 0);
        CHECK_EQ(tractor_run_actor(n, "sibling", "suffers_beside", rig_object("fault", fault), NULL, &f), 0);
        rig_must(tractor_future_wait(f, NULL));
        tractor_future_unref(f);
        tractor_nursery_cancel(n, NULL);
        CHECK_EQ(tractor_nursery_close(&n, 0), fault_by_name(fault)->closed);
        return 0;
}

static void each(int (*body)(void *userdata), size_t n)
{
        for (size_t i = 0; i < n; i++) {
                fprintf(stderr, "   == %s\n", faults[i].name);
                rig_run(&options, body, (void *) faults[i].name);
        }
}

static void a_root_is_told(void)
{
        each(suffer_here, ELEMENTSOF(faults));
}

static void an_owner_is_told(void)
{
        each(suffer_in_actor, 4);
}

static void a_sibling_is_told(void)
{
        each(suffer_in_sibling, 4);
}

static const tractor_method methods[] = { { "echo", echo }, { "ponders", ponders }, { "silent", silent },
        { "get_pid", get_pid }, { "tears", tears }, { "tears_channel", tears_channel },
        { "suffers", suffers }, { "suffers_beside", suffers_beside }, { NULL } };

static tractor_options options = { .size = sizeof(options), .methods = methods, .flags = TRACTOR_EMBED };

int main(int argc, char **argv)
{
        static const TestCase cases[] = { { "a_root_is_told", a_root_is_told },
                { "an_owner_is_told", an_owner_is_told }, { "a_sibling_is_told", a_sibling_is_told } };

        if (getenv("TRACTOR_ENTRY"))
                return rig_main(&options);
        options.backend = getenv("BACKEND");
        return test_main(argc, argv, cases, ELEMENTSOF(cases));
}
