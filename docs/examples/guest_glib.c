/* SPDX-License-Identifier: Apache-2.0 */
/* Tasks in a main loop of GLib's, beside its own sources: a GSource asks tractor what to poll for, and lets it work.
 *
 *         build/docs/examples/guest_glib          watch it with: watch -n 0.2 'ps f -o pid,args -C guest_glib' */

#include <glib.h>
#include <stdio.h>
#include <string.h>

#include <tractor/tractor.h>

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

static int count(void *unused)
{
        for (int i = 1; i <= 3; i++) {
                int r = tractor_sleep(100 * TRACTOR_MSEC);

                if (r < 0)
                        return r;
                printf("task %s: %d\n", tractor_task_name(), i);
        }
        return 0;
}

static int body(void *unused)
{
        TRACTOR_NURSERY(n);
        int r = tractor_nursery_open(NULL, &n);

        if (r >= 0)
                r = tractor_start_task(n, "one", count, NULL, NULL);
        if (r >= 0)
                r = tractor_start_task(n, "two", count, NULL, NULL);
        return tractor_nursery_close(&n, r);
}

static int result = 1;

static void on_end(int r, void *loop)
{
        printf("tasks: %s\n", r < 0 ? strerror(-r) : "done");
        result = r < 0 ? 1 : 0;
        g_main_loop_quit(loop);
}

static gboolean on_tick(gpointer unused)
{
        printf("glib: tick\n");
        return G_SOURCE_CONTINUE;
}

int main(void)
{
        g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
        g_autoptr(GSource) source = NULL;

        if (tractor_open(NULL, body, loop, on_end) < 0)
                return 1;
        source = host_attach(NULL);
        (void) g_timeout_add(100, on_tick, NULL);
        g_main_loop_run(loop);
        tractor_close();
        return result;
}
