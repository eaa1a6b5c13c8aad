/* SPDX-License-Identifier: Apache-2.0 */
/* A server with several connections, as an actor has it. */
#include "libtractor/scope.h"
#include "portal-fixture.h"

static int idle(tractor_context *c, Json *args, Json **ret)
{
        int r = tractor_context_is_dialog(c) ? tractor_context_started(c, NULL, NULL) : 0;

        return r < 0 ? r : tractor_sleep_forever();
}

static int whoami(tractor_context *c, Json *args, Json **ret)
{
        return json_pack(ret, "{path:s?, id:s?, uid:i, pid:i, method:s, userdata:s}",
                        tractor_context_peer_path(c), tractor_context_peer_id(c),
                        (int) tractor_context_peer_uid(c), (int) tractor_context_peer_pid(c),
                        tractor_context_method(c), (const char *) tractor_context_userdata(c));
}

static int hidden(tractor_context *c, Json *args, Json **ret)
{
        CHECK(false);
        return 0;
}

/* One item to each, again and again, at the slowest one's speed or past it. */
static int feed(tractor_context *c, Json *args, Json **ret)
{
        int r = tractor_context_started(c, NULL, NULL);

        for (int i = 0; r >= 0 && i < 200; i++) {
                Json *item = NULL;

                CHECK_EQ(json_pack(&item, "i", i), 0);
                r = tractor_send(c, item);
        }
        return r;
}

static const tractor_method methods[] = {
        { "idle", idle, NULL, NULL },
        { "whoami", whoami, (void *) "data", NULL },
        { "hidden", hidden, NULL, NULL },
        { "feed", feed, NULL, NULL },
        { NULL },
};

static int other(tractor_context *c, Json *args, Json **ret)
{
        return json_pack(ret, "s", "other");
}

static const tractor_method others[] = { { "whoami", other, NULL, NULL }, { NULL } };

typedef struct World {
        Nursery *nursery;
        Server *server;
        tractor_portal *portals[3];
} World;

/* Peers /a, /b and /c. */
static void world_new(World *w, char *const *expose)
{
        static const char *const paths[] = { "/a", "/b", "/c" };

        *w = (World){ 0 };
        CHECK_EQ(tractor_nursery_open(NULL, &w->nursery), 0);
        CHECK_EQ(server_new(w->nursery, methods, expose, &w->server), 0);
        for (size_t i = 0; i < ELEMENTSOF(paths); i++) {
                ServedPeer peer = { .path = paths[i], .id = "i1", .uid = 1000, .pid = (pid_t) i + 10 };
                int fds[2];

                CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
                CHECK_EQ(server_accept(w->server, fds[1], &peer), 0);
                CHECK_EQ(portal_new(runtime, fds[0], &(PortalOptions){ .path = "/served" }, &w->portals[i]),
                                0);
        }
        CHECK_EQ(server_n_connections(w->server), 3);
}

static int world_close(World *w)
{
        int r = tractor_nursery_close(&w->nursery, 0);

        CHECK_EQ(server_flush(w->server), 0);
        w->server = server_free(w->server);
        for (size_t i = 0; i < ELEMENTSOF(w->portals); i++)
                w->portals[i] = tractor_portal_unref(w->portals[i]);
        return r;
}

static void run(int (*body)(World *w))
{
        CHECK_EQ(tractor_run(NULL, (int (*)(void *))(void *) body, NULL), 0);
}

static int peers(World *unused)
{
        static const char *const expose[] = { "whoami", "idle", "nothing", NULL };
        _cleanup_json_ Json *who = NULL, *names = NULL, *now = NULL;
        World w;

        world_new(&w, (char *const *) expose);
        CHECK_EQ(tractor_portal_call(w.portals[1], "whoami", NULL, &who), 0);
        CHECK_STR(json_print(who, NULL),
                        "{\"path\":\"/"
                        "b\",\"id\":\"i1\",\"uid\":1000,\"pid\":11,\"method\":\"whoami\",\"userdata\":"
                        "\"data\"}");
        CHECK_EQ(tractor_portal_call(w.portals[1], "hidden", NULL, NULL), -ENOSYS);
        CHECK_EQ(tractor_portal_methods(w.portals[0], &names), 0);
        CHECK_STR(json_print(names, NULL), "[\"idle\",\"whoami\"]");
        server_become(w.server, others);
        CHECK_EQ(tractor_portal_call(w.portals[1], "whoami", NULL, &now), 0);
        CHECK_STR(json_string(now), "other");
        return world_close(&w);
}

static void a_handler_knows_who_asks(void)
{
        run(peers);
}

/* Two hold dialogs, a third party cancels the actor: both learn by whom. */
static int third(World *unused)
{
        tractor_context *c[2] = { NULL, NULL };
        World w;

        world_new(&w, NULL);
        for (int i = 0; i < 2; i++)
                CHECK_EQ(tractor_context_open(w.portals[i], "idle", NULL, NULL, &c[i], NULL), 0);
        scope_cancel(tractor_nursery_scope(w.nursery), "closing time", "/third");
        server_stop(w.server, "closing time");
        tractor_scope *s = tractor_shield(5 * TRACTOR_SEC);
        for (int i = 0; i < 2; i++) {
                Json *item;

                CHECK_EQ(tractor_receive(c[i], &item), 0);
                CHECK_EQ(tractor_context_close(&c[i], 0, NULL), -EINTR);
                CHECK_STR(tractor_error_canceller(tractor_last_error()), "/third");
        }
        CHECK_EQ(tractor_portal_call(w.portals[2], "idle", NULL, NULL), -ESHUTDOWN);
        CHECK_EQ(tractor_scope_close(s, 0), 0);
        return world_close(&w);
}

static void who_cancels_an_actor_is_told_to_all(void)
{
        run(third);
}

static int left(World *unused)
{
        World w;

        world_new(&w, NULL);
        tractor_scope *s = tractor_move_on_after(TRACTOR_MSEC);
        CHECK_EQ(tractor_portal_call(w.portals[0], "idle", NULL, NULL), -ECANCELED);
        CHECK_EQ(tractor_scope_close(s, -ECANCELED), 0);
        /* Its end is told: its connection goes, no other one. */
        server_peer_exited(w.server, "/b", "i2", NULL);
        CHECK_EQ(server_n_connections(w.server), 3);
        server_peer_exited(w.server, "/b", "i1", NULL);
        CHECK_EQ(server_n_connections(w.server), 2);
        w.portals[2] = tractor_portal_unref(w.portals[2]);
        while (server_n_connections(w.server) > 1)
                CHECK_EQ(tractor_sleep(100), 0);
        CHECK_EQ(tractor_portal_call(w.portals[1], "whoami", NULL, NULL), -ECONNRESET);
        CHECK_EQ(tractor_portal_call(w.portals[0], "whoami", NULL, NULL), 0);
        return world_close(&w);
}

static void a_peer_that_ends_is_forgotten(void)
{
        run(left);
}

static int stuck(void *userdata)
{
        return tractor_portal_call(userdata, "idle", NULL, NULL) == -ECONNRESET ? 0 : -EIO;
}

static int dies_busy(World *unused)
{
        World w;
        TRACTOR_NURSERY(n);

        world_new(&w, NULL);
        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_task(n, NULL, stuck, w.portals[0], NULL), 0);
        while (tractor_nursery_n_tasks(w.nursery) == 0)
                CHECK_EQ(tractor_sleep(100), 0);
        server_peer_exited(w.server, "/a", NULL, NULL);
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        /* Its task has ended, too: else closing would wait for ever. */
        return world_close(&w);
}

static void tasks_of_a_dead_peer_are_cancelled(void)
{
        run(dies_busy);
}

static void answered(int r, void *userdata)
{
        CHECK_EQ(*(int *) userdata, 1);
        *(int *) userdata = r;
}

static int watches(World *unused)
{
        int result = 1;
        World w;

        world_new(&w, NULL);
        server_watch(w.server, "whoami", answered, &result);
        CHECK_EQ(tractor_portal_methods(w.portals[0], NULL), 0);
        CHECK_EQ(result, 1);
        CHECK_EQ(tractor_portal_call(w.portals[0], "whoami", NULL, NULL), 0);
        CHECK_EQ(result, 0);
        CHECK_EQ(tractor_portal_call(w.portals[0], "whoami", NULL, NULL), 0); /* once */
        return world_close(&w);
}

static void the_first_answer_is_told(void)
{
        run(watches);
}

typedef struct Reader {
        tractor_portal *portal;
        bool slow, leaves;
        uint64_t got, lost;
} Reader;

static int read_all(void *userdata)
{
        tractor_context_options o = {
                .size = sizeof(o), .window = 4, .overrun = TRACTOR_OVERRUN_DROP_OLDEST
        };
        Reader *reader = userdata;
        tractor_context *c = NULL;
        Json *item;
        int r = tractor_context_open(reader->portal, "feed", NULL, reader->slow ? &o : NULL, &c, NULL);

        while (r >= 0) {
                uint64_t lost = 0;

                r = tractor_receive_lost(c, &item, &lost);
                if (r <= 0)
                        break;
                json_unref(item);
                if (reader->leaves)
                        break;
                reader->got++;
                reader->lost += lost;
                if (reader->slow && reader->got == 1)
                        r = tractor_sleep(5 * TRACTOR_MSEC);
        }
        if (reader->leaves && r > 0)
                return tractor_context_close(&c, -ECANCELED, NULL) == -ECANCELED ? 0 : -EIO;
        return tractor_context_close(&c, r, NULL);
}

static int subscribers(World *unused)
{
        Reader readers[22] = { 0 };
        World w;
        TRACTOR_NURSERY(n);

        world_new(&w, NULL);
        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        for (size_t i = 0; i < ELEMENTSOF(readers); i++) {
                readers[i] = (Reader){ .portal = w.portals[i % 3], .slow = i == 5, .leaves = i == 6 };
                CHECK_EQ(tractor_start_task(n, NULL, read_all, &readers[i], NULL), 0);
        }
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        for (size_t i = 0; i < ELEMENTSOF(readers); i++)
                if (readers[i].slow) {
                        CHECK(readers[i].lost > 0);
                        CHECK_EQ(readers[i].got + readers[i].lost, 200);
                } else if (!readers[i].leaves)
                        CHECK_EQ(readers[i].got, 200);
        return world_close(&w);
}

static void a_slow_subscriber_is_slow_alone(void)
{
        run(subscribers);
}

TEST_MAIN({ "a_handler_knows_who_asks", a_handler_knows_who_asks },
                { "who_cancels_an_actor_is_told_to_all", who_cancels_an_actor_is_told_to_all },
                { "a_peer_that_ends_is_forgotten", a_peer_that_ends_is_forgotten },
                { "tasks_of_a_dead_peer_are_cancelled", tasks_of_a_dead_peer_are_cancelled },
                { "the_first_answer_is_told", the_first_answer_is_told },
                { "a_slow_subscriber_is_slow_alone", a_slow_subscriber_is_slow_alone });
