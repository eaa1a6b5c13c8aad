/* SPDX-License-Identifier: Apache-2.0 */
/* Trees of tasks, nurseries and actors that do and suffer anything, in any order, by a seed that is said. Whatever happens: nothing
 * hangs, all nurseries are left, all processes end, and what fails fails by an error that its fault explains.
 *
 *     test-actors-random [SECONDS]         TRACTOR_SEED=N repeats the first round of a run
 *
 * A round's choices repeat with its seed; how they fall together does not, since processes run as they like. */
#include <json-c/json.h>
#include <sys/wait.h>
#include <time.h>

#include "actors-rig.h"

#define ROUND_MSEC 400 /* until its root is cancelled */
#define DEPTH_MAX 3

static tractor_options options;

/* --- chance --- */
/* Each actor and each task has its own, so that one's choices don't hang on how fast the others are. */
typedef struct Chance {
        unsigned seed;
} Chance;

static unsigned draw(Chance *c, unsigned n)
{
        return (unsigned) rand_r(&c->seed) % n;
}

static Chance split(Chance *c)
{
        return (Chance){ .seed = (unsigned) rand_r(&c->seed) };
}

/* --- what may be told --- */
static bool is_explained(const tractor_error *e);

static bool are_causes_explained(const tractor_error *e)
{
        for (size_t i = 0; i < tractor_error_n_causes(e); i++)
                if (!is_explained(tractor_error_cause(e, i)))
                        return false;
        return true;
}

/* Of an actor that is there no more, only by what is done to actors here: it was killed, or told to end and did. */
static bool is_end_explained(const tractor_error *e)
{
        struct json_object *exit = tractor_error_exit(e), *code;
        const char *signal = json_object_get_string(json_object_object_get(exit, "signal"));

        if (signal)
                return streq(signal, "SIGKILL") || streq(signal, "SIGTERM");
        return json_object_object_get_ex(exit, "code", &code) && json_object_get_int(code) == 0;
}

static bool is_explained(const tractor_error *e)
{
        switch (tractor_error_errno(e)) {
        case -ECANCELED:  /* left by a cancelled one */
        case -EINTR:      /* somebody cancelled what was called */
        case -ESHUTDOWN:  /* or the whole actor */
        case -ETIMEDOUT:  /* a deadline of ours */
        case -ECONNRESET: /* torn, or nobody is left to say how it ended */
        case -ESRCH:      /* gone when it was asked for */
        case -ECHILD:     /* ended before it was ready */
        case -EPIPE:
                return true;
        case -EREMOTEIO:
                return streq_ptr(tractor_error_type(e), "Chance");
        case -EOWNERDEAD:
                return is_end_explained(e);
        case -ETOOMANYREFS:
                return are_causes_explained(e);
        default:
                return false;
        }
}

/* `r` is what a call of ours has answered. Passes it on. */
static int explained(const char *what, int r)
{
        const tractor_error *e = tractor_last_error();
        char *text;

        if (r >= 0 || r == -ECANCELED || (!e && (r == -EPIPE || r == -EAGAIN || r == -ETIMEDOUT)))
                return r;
        if (e && tractor_error_errno(e) == r && is_explained(e))
                return r;
        text = e ? tractor_error_format(e) : NULL;
        fprintf(stderr, "%s: %s fails unexplained: %s\n%s", tractor_name(), what, strerrorname_np(-r),
                        strna(text));
        abort();
}

/* --- the methods --- */
static struct json_object *seeded(Chance *c, int depth)
{
        struct json_object *o = json_object_new_object();

        json_object_object_add(o, "seed", json_object_new_int64(split(c).seed));
        json_object_object_add(o, "depth", json_object_new_int(depth));
        return o;
}

static Chance seed_of(struct json_object *args)
{
        return (Chance){ .seed = (unsigned) json_object_get_int64(json_object_object_get(args, "seed")) };
}

static int nap(Chance *c)
{
        return tractor_sleep(draw(c, 20) * TRACTOR_MSEC);
}

/* Answers in some time, or fails, or falls asleep for good. */
static int answers(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        Chance c = seed_of(args);

        *ret_result = json_object_get(args);
        switch (draw(&c, 6)) {
        case 0:
                return tractor_fail("Chance", "as it fell");
        case 1:
                return tractor_sleep_forever();
        default:
                return nap(&c);
        }
}

/* Streams both ways, at once or not, for a while or until the other end has enough. */
static int streams(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        Chance c = seed_of(args);
        struct json_object *item;
        int r;

        if (!tractor_context_is_dialog(ctx))
                return 0;
        r = tractor_context_started(ctx, NULL, NULL);
        for (unsigned n = draw(&c, 300); r >= 0 && n > 0; n--) {
                r = draw(&c, 3) ? tractor_send(ctx, json_object_new_int((int) n))
                                : tractor_receive(ctx, &item);
                if (r > 0)
                        json_object_put(item);
        }
        if (r == -EPIPE)
                r = 0;
        return r >= 0 && draw(&c, 4) == 0 ? tractor_fail("Chance", "a stream broke") : MIN(r, 0);
}

static int dies(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        (void) raise(SIGKILL);
        return 0;
}

static int tears(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        (void) rig_tear(false);
        return 0;
}

static int grow(Chance *c, int depth);

/* An actor with a tree of its own. */
static int grows(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        Chance c = seed_of(args);

        return grow(&c, json_object_get_int(json_object_object_get(args, "depth")));
}

/* --- what tasks do with an actor --- */
typedef struct Work {
        Chance chance;
        tractor_portal *portal;
        int depth;
} Work;

static void work_free(void *p)
{
        tractor_portal_unref(((Work *) p)->portal);
        free(p);
}

static int converse(Chance *c, tractor_portal *p)
{
        tractor_context_options o = { .size = sizeof(o), .window = draw(c, 2) * 8, .overrun = draw(c, 3) };
        tractor_context *ctx = NULL;
        struct json_object *item;
        int r = explained("open", tractor_context_open(p, "streams", seeded(c, 0), &o, &ctx, NULL));

        if (r < 0)
                return r;
        for (unsigned n = draw(c, 200); r >= 0 && n > 0; n--) {
                r = draw(c, 3) ? tractor_receive(ctx, &item)
                               : tractor_send(ctx, json_object_new_int((int) n));
                if (r > 0)
                        json_object_put(item);
        }
        if (r == -EPIPE || r == -ENOBUFS)
                r = 0;
        if (draw(c, 4) == 0)
                tractor_context_cancel(ctx, "enough");
        r = tractor_context_close(&ctx, MIN(r, 0), NULL);
        return r == -ENOBUFS ? 0 : explained("close", r);
}

static int ask(Chance *c, tractor_portal *p)
{
        struct json_object *result = NULL;
        tractor_call_options o = { .size = sizeof(o), .deadline_usec = draw(c, 2) * draw(c, 30) * 1000 };
        int r = tractor_portal_call_with(p, "answers", seeded(c, 0), &o, &result);

        json_object_put(result);
        return explained("call", r);
}

static int tell(Chance *c, tractor_portal *p)
{
        int r = 0;

        for (unsigned n = draw(c, 100); r >= 0 && n > 0; n--)
                r = draw(c, 2) ? tractor_portal_tell(p, "answers", seeded(c, 0))
                               : tractor_portal_try_tell(p, "answers", seeded(c, 0));
        return r == -EAGAIN ? 0 : explained("tell", r);
}

/* Does it harm. */
static int strike(Chance *c, tractor_portal *p)
{
        static const int signals[] = { SIGKILL, SIGKILL, SIGTERM, SIGSTOP };
        pid_t pid = tractor_portal_pid(p);

        switch (draw(c, 8)) {
        case 0:
                return explained("cancel", tractor_portal_cancel_actor(p, "by chance"));
        case 1:
                return explained("dies", tractor_portal_call(p, "dies", NULL, NULL));
        case 2:
                return explained("tears", tractor_portal_call(p, "tears", NULL, NULL));
        case 3:
                /* Nobody but us may reap it or reuse its number: its nursery is still ours. */
                if (pid > 0)
                        (void) kill(pid, signals[draw(c, ELEMENTSOF(signals))]);
                return 0;
        default:
                return nap(c);
        }
}

static int converses(void *userdata)
{
        Work *w = userdata;
        int r = 0;

        for (unsigned n = draw(&w->chance, 6); r >= 0 && n > 0; n--) {
                int (*const ways[])(Chance * c, tractor_portal * p) = { ask, converse, tell, strike };
                tractor_scope *s = draw(&w->chance, 2) ? tractor_move_on_after(draw(&w->chance, 40) * 1000)
                                                       : tractor_scope_open();

                r = ways[draw(&w->chance, 4)](&w->chance, w->portal);
                r = tractor_scope_close(s, r);
                if (r < 0 && r != -ECANCELED && draw(&w->chance, 2))
                        r = 0;
        }
        return r;
}

static int nests(void *userdata)
{
        Work *w = userdata;

        return grow(&w->chance, w->depth - 1);
}

static int shields(void *userdata)
{
        Work *w = userdata;
        tractor_scope *s = tractor_shield(50 * TRACTOR_MSEC);

        return tractor_scope_close(s, nap(&w->chance));
}

/* --- trees --- */
static int start_work(Chance *c, tractor_nursery *n, tractor_task_fn fn, tractor_portal *p, int depth)
{
        Work *w = malloc(sizeof(*w));

        CHECK(w);
        *w = (Work){ .chance = split(c), .portal = tractor_portal_ref(p), .depth = depth };
        return explained("task", tractor_start_task(n, NULL, fn, w, work_free));
}

static int start_daemon(Chance *c, tractor_nursery *n, const char *name)
{
        tractor_actor_options o = { .size = sizeof(o), .grace_usec = 100 * TRACTOR_MSEC };
        tractor_portal *p = NULL;
        int r = explained("start", tractor_start_actor(n, name, &o, &p));

        for (unsigned i = draw(c, 4); r >= 0 && i > 0; i--)
                r = start_work(c, n, converses, p, 0);
        tractor_portal_unref(p);
        return r;
}

static int run_one(Chance *c, tractor_nursery *n, const char *name, int depth)
{
        static const char *const methods[] = { "answers", "grows", "dies" };
        tractor_actor_options o = { .size = sizeof(o), .grace_usec = 100 * TRACTOR_MSEC };
        tractor_future *f = NULL;
        int r = explained("run", tractor_run_actor(n, name, methods[draw(c, 3)], seeded(c, depth), &o, &f));

        if (r >= 0 && draw(c, 2))
                r = explained("future", tractor_future_wait(f, NULL));
        tractor_future_unref(f);
        return r;
}

static int add(Chance *c, tractor_nursery *n, unsigned i, int depth)
{
        char name[16];

        (void) snprintf(name, sizeof(name), "a%u", i);
        switch (draw(c, depth > 0 ? 6 : 3)) {
        case 0:
                return nap(c);
        case 1:
                return start_work(c, n, shields, NULL, depth);
        case 2:
                return start_daemon(c, n, name);
        case 3:
                return start_work(c, n, nests, NULL, depth);
        default:
                return run_one(c, n, name, depth - 1);
        }
}

static int grow(Chance *c, int depth)
{
        tractor_nursery_options o = { .size = sizeof(o),
                .strategy = draw(c, 2) ? "one_cancels_one" : "one_cancels_all" };
        TRACTOR_NURSERY(n);
        int r = tractor_nursery_open(&o, &n);

        CHECK_EQ(r, 0);
        for (unsigned i = 0, k = 1 + draw(c, 4); r >= 0 && i < k; i++)
                r = add(c, n, i, depth);
        if (draw(c, 3) == 0)
                return r == -ECANCELED ? 0 : r; /* cleanup leaves it, and so a cancellation of its own */
        if (draw(c, 2) == 0)
                tractor_nursery_cancel(n, "by chance");
        return explained("nursery", tractor_nursery_close(&n, r));
}

/* --- rounds --- */
static int round_of(void *userdata)
{
        Chance *c = userdata;
        tractor_scope *s = tractor_move_on_after(ROUND_MSEC * TRACTOR_MSEC);
        tractor_nursery *n = NULL; /* for what comes of those that are left by cleanup */

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        (void) explained("round", tractor_scope_close(s, tractor_nursery_close(&n, grow(c, DEPTH_MAX))));
        return 0;
}

static const tractor_method methods[] = { { "answers", answers }, { "streams", streams }, { "dies", dies },
        { "tears", tears }, { "grows", grows }, { NULL } };

static tractor_options options = { .size = sizeof(options), .methods = methods, .flags = TRACTOR_EMBED };

/* One root in eight is killed at some moment, as many are interrupted. */
static void run_round(unsigned seed)
{
        Chance c = { .seed = seed }, fate = { .seed = ~seed };
        unsigned end = draw(&fate, 8), moment = draw(&fate, ROUND_MSEC);
        pid_t root = rig_fork(&options, round_of, &c);
        int status;

        if (end < 2)
                (void) poll(NULL, 0, (int) moment);
        if (end == 0) {
                (void) rig_kill(root);
                return;
        }
        if (end == 1)
                (void) kill(root, SIGINT);
        status = rig_join(root);
        if (end == 1 && WIFSIGNALED(status) && WTERMSIG(status) == SIGINT)
                return; /* before the runtime was there to be told */
        CHECK(WIFEXITED(status));
        if (end != 1 || WEXITSTATUS(status) != EINTR)
                CHECK_EQ(WEXITSTATUS(status), 0);
}

int main(int argc, char **argv)
{
        unsigned seconds = argc > 1 ? (unsigned) strtoul(argv[1], NULL, 10) : 5, n = 0;
        const char *given = getenv("TRACTOR_SEED");
        unsigned seed = given ? (unsigned) strtoul(given, NULL, 0) : (unsigned) time(NULL);
        time_t until = time(NULL) + seconds;

        if (getenv("TRACTOR_ENTRY"))
                return rig_main(&options);
        options.backend = getenv("BACKEND");
        for (; n == 0 || time(NULL) < until; n++) {
                fprintf(stderr, "seed %u\n", seed + n);
                run_round(seed + n);
        }
        fprintf(stderr, "%u rounds\n", n);
        return 0;
}
