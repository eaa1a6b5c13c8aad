/* SPDX-License-Identifier: Apache-2.0 */
/* An actor's root in a main loop of GLib's, beside its own sources: a GSource asks tractor what to poll for,
 * and lets it work.
 *
 * Watch it from another terminal:  watch -n 0.1 tractorctl tree */

#include <glib.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <tractor/tractor.h>
#include <unistd.h>

/* --- what any program of GLib's needs: 50 lines --- */

typedef struct Host {
        GSource source;
        gpointer tag; /* of the descriptor; see g_source_add_unix_fd() */
} Host;

/* GLib's clock is CLOCK_MONOTONIC in microseconds, as ours. */
static gboolean host_prepare(GSource *source, gint *timeout)
{
        uint64_t until;

        *timeout = -1;
        if (tractor_get_timeout(&until) < 0)
                return FALSE;
        g_source_set_ready_time(source, until == TRACTOR_FOREVER ? -1 : (gint64) until);
        return until == 0;
}

static gboolean host_check(GSource *source)
{
        uint64_t until;

        return g_source_query_unix_fd(source, ((Host *) source)->tag) != 0 ||
               (tractor_get_timeout(&until) >= 0 && until <= (uint64_t) g_get_monotonic_time());
}

static gboolean host_dispatch(GSource *source, GSourceFunc unused, gpointer userdata)
{
        return tractor_process() > 0 ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

static GSource *host_attach(GMainContext *context)
{
        static GSourceFuncs funcs = {
                .prepare = host_prepare, .check = host_check, .dispatch = host_dispatch
        };
        GSource *source = g_source_new(&funcs, sizeof(Host));

        ((Host *) source)->tag =
                        g_source_add_unix_fd(source, tractor_get_fd(), (GIOCondition) tractor_get_events());
        (void) g_source_attach(source, context);
        return source;
}

/* --- the program --- */

static int beat(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        int r = tractor_context_started(ctx, NULL, NULL);

        for (int i = 1; i <= 3 && r >= 0; i++) {
                r = tractor_sleep(100 * TRACTOR_MSEC);
                if (r >= 0)
                        r = tractor_send(ctx, json_object_new_int(i));
        }
        return r;
}

static int pid(tractor_context *ctx, struct json_object *args, struct json_object **ret_result)
{
        *ret_result = json_object_new_int(getpid());
        return 0;
}

static const tractor_method methods[] = { { "beat", beat }, { "pid", pid }, { NULL } };

/* A task that listens to the actor while GLib's own sources go on. */
static int listen_to(void *portal)
{
        TRACTOR_CLEANUP(tractor_context_dropp) tractor_context *ctx = NULL;
        struct json_object *item;
        int r = tractor_context_open(portal, "beat", NULL, NULL, &ctx, NULL);

        if (r < 0)
                return r;
        while ((r = tractor_receive(ctx, &item)) > 0) {
                printf("actor: beat %s\n", json_object_to_json_string(item));
                json_object_put(item);
        }
        return tractor_context_close(&ctx, r, NULL);
}

static int listen_and_ask(tractor_portal *portal)
{
        struct json_object *answer = NULL;
        TRACTOR_NURSERY(n);
        int r = tractor_nursery_open(NULL, &n);

        if (r >= 0)
                r = tractor_start_task(n, "listener", listen_to, portal, NULL);
        if (r >= 0)
                r = tractor_portal_call(portal, "pid", NULL, &answer);
        if (r >= 0)
                printf("actor: process %s\n", json_object_to_json_string(answer));
        json_object_put(answer);
        return tractor_nursery_close(&n, r);
}

/* What was said of a failure beyond its errno is the task's to tell. */
static int tell(int r)
{
        g_autofree char *text =
                        r < 0 && tractor_last_error() ? tractor_error_format(tractor_last_error()) : NULL;

        if (text)
                fprintf(stderr, "guest_glib: %s", text);
        return r;
}

static int body(void *unused)
{
        tractor_portal *portal = NULL;
        TRACTOR_NURSERY(n);
        int r = tractor_nursery_open(NULL, &n);

        if (r >= 0)
                r = tractor_start_actor(n, "heart", NULL, &portal);
        if (r >= 0)
                r = listen_and_ask(portal);
        if (r >= 0)
                r = tractor_portal_cancel_actor(portal, "enough");
        tractor_portal_unref(portal);
        return tell(tractor_nursery_close(&n, r));
}

static int status = 1;

static void on_end(int r, void *loop)
{
        if (!tractor_is_actor())
                printf("tractor: %s\n", r < 0 ? strerror(-r) : "done");
        status = r < 0 ? 1 : 0;
        g_main_loop_quit(loop);
}

static gboolean on_tick(gpointer unused)
{
        printf("glib: tick\n");
        return G_SOURCE_CONTINUE;
}

/* The same binary is the actor, in a main loop of its own. */
int main(void)
{
        tractor_options options = { .size = sizeof(options), .methods = methods };
        g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
        g_autoptr(GSource) source = NULL;

        if (tractor_open(&options, body, loop, on_end) < 0)
                return 1;
        source = host_attach(NULL);
        if (!tractor_is_actor())
                (void) g_timeout_add(50, on_tick, NULL);
        g_main_loop_run(loop);
        tractor_close();
        return status;
}
