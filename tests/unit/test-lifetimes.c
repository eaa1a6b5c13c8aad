/* SPDX-License-Identifier: Apache-2.0 */
/* What outlives what: portals their run and their peers, servers their nursery, and what a peer may make of a tell. */
#include "libtractor/tree.h"
#include "portal-fixture.h"

/* --- tells --- */
static int n_asked;

static int starts(tractor_context *c, Json *args, Json **ret)
{
        n_asked++;
        CHECK(!tractor_context_is_dialog(c));
        CHECK_EQ(tractor_context_started(c, NULL, NULL), -EPROTO);
        return 0;
}

static const tractor_method methods[] = { { "starts", starts, NULL, NULL }, { NULL } };

static int tell_as_dialog(void *unused)
{
        static const char text[] = "{\"jsonrpc\":\"2.0\",\"method\":\"starts\",\"$\":{\"ctx\":true}}\n";
        int fds[2];
        TRACTOR_NURSERY(n);

        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_serve_fds(n, fds[1], fds[1], methods), 0);
        CHECK_EQ(write(fds[0], text, sizeof(text) - 1), (ssize_t) sizeof(text) - 1);
        (void) close(fds[0]);
        return tractor_nursery_close(&n, 0);
}

static void a_tell_is_no_dialog(void)
{
        CHECK_EQ(tractor_run(NULL, tell_as_dialog, NULL), 0);
        CHECK_EQ(n_asked, 1);
}

/* --- portals that nobody holds --- */
static Json *text_of(size_t n)
{
        char *text = malloc(n + 1);
        Json *args = NULL;

        CHECK(text);
        memset(text, 'x', n);
        text[n] = 0;
        CHECK_EQ(json_pack(&args, "[s]", text), 0);
        free(text);
        return args;
}

/* To a peer that never reads. */
static tractor_portal *portal_with_a_tell(int *ret_peer)
{
        tractor_portal *p;
        int fds[2];

        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        CHECK_EQ(tractor_portal_open_fds(fds[0], fds[0], &p), 0);
        CHECK_EQ(tractor_portal_tell(p, "starts", text_of(1000 * 1000)), 0);
        CHECK(!session_is_flushed(p->session));
        *ret_peer = fds[1];
        return p;
}

static int peer_exits_after_unref(void *unused)
{
        int peer, other;
        tractor_portal *p = portal_with_a_tell(&peer), *q = portal_with_a_tell(&other);

        (void) tractor_portal_unref(p);
        (void) tractor_portal_unref(q);
        portal_peer_exited(p, NULL, NULL, NULL);
        portal_peer_exited(q, NULL, NULL, NULL);
        (void) close(peer);
        (void) close(other);
        return tractor_checkpoint();
}

static void a_peers_end_after_the_last_unref(void)
{
        CHECK_EQ(tractor_run(NULL, peer_exits_after_unref, NULL), 0);
}

static int keep_portal(void *userdata)
{
        int peer;

        *(tractor_portal **) userdata = portal_with_a_tell(&peer);
        (void) close(peer);
        return 0;
}

static void a_portal_is_kept_beyond_its_run(void)
{
        tractor_portal *p = NULL;

        CHECK_EQ(tractor_run(NULL, keep_portal, &p), 0);
        CHECK_EQ(tractor_portal_call(p, "starts", NULL, NULL), -ENOTCONN);
        CHECK(!tractor_portal_unref(p));
}

/* --- a server whose nursery is gone, as when an actor's last answers leave --- */
static int late_connection(void *unused)
{
        ServedPeer peer = { .path = "/late", .uid = (uid_t) -1 };
        Server *s;
        int fds[2];
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(server_new(n, methods, NULL, &s), 0);
        server_stop(s, NULL);
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        CHECK_EQ(server_accept(s, fds[1], &peer), 0);
        server_peer_exited(s, "/late", NULL, NULL);
        CHECK_EQ(server_flush(s), 0);
        (void) close(fds[0]);
        server_free(s);
        return 0;
}

static void a_connection_comes_while_the_last_answers_leave(void)
{
        CHECK_EQ(tractor_run(NULL, late_connection, NULL), 0);
}

/* --- what failed is kept, but not without end --- */
static int fails(void *unused)
{
        return -EIO;
}

static int many_failures(void *unused)
{
        tractor_nursery_options o = { .size = sizeof(o), .strategy = "one_cancels_one" };
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(&o, &n), 0);
        for (unsigned i = 0; i < 1000; i++) {
                CHECK_EQ(tractor_start_task(n, "fails", fails, NULL, NULL), 0);
                CHECK_EQ(tractor_checkpoint(), 0);
        }
        CHECK(n->n_errors <= NURSERY_ERRORS_MAX);
        CHECK_EQ(tractor_nursery_close(&n, 0), -ETOOMANYREFS);
        CHECK_STR(tractor_error_message(tractor_last_error()), "1000 failures");
        return 0;
}

static void failures_are_kept_up_to_a_number(void)
{
        CHECK_EQ(tractor_run(NULL, many_failures, NULL), 0);
}

/* --- an environment that is none of the supervisor's --- */
static int never(void *unused)
{
        CHECK(false);
        return 0;
}

static void a_channel_without_a_path_is_refused(void)
{
        int fds[2];
        char text[16];

        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        (void) snprintf(text, sizeof(text), "%d", fds[0]);
        CHECK_EQ(setenv("TRACTOR_CHANNEL_FD", text, 1), 0);
        (void) unsetenv("TRACTOR_PATH");
        CHECK_EQ(tractor_run(NULL, never, NULL), -EINVAL);
        CHECK_EQ(setenv("TRACTOR_CHANNEL_FD", "1000000", 1), 0);
        CHECK_EQ(setenv("TRACTOR_PATH", "/a", 1), 0);
        CHECK_EQ(tractor_run(NULL, never, NULL), -EBADF);
        CHECK_EQ(unsetenv("TRACTOR_CHANNEL_FD"), 0);
        CHECK_EQ(unsetenv("TRACTOR_PATH"), 0);
        (void) close(fds[1]);
}

/* --- closing what runs --- */
static int closes(void *unused)
{
        tractor_close();
        return tractor_checkpoint();
}

static void a_run_is_not_closed_from_within(void)
{
        CHECK_EQ(tractor_run(NULL, closes, NULL), 0);
}

TEST_MAIN({ "a_tell_is_no_dialog", a_tell_is_no_dialog },
                { "a_peers_end_after_the_last_unref", a_peers_end_after_the_last_unref },
                { "a_portal_is_kept_beyond_its_run", a_portal_is_kept_beyond_its_run },
                { "a_connection_comes_while_the_last_answers_leave",
                                a_connection_comes_while_the_last_answers_leave },
                { "failures_are_kept_up_to_a_number", failures_are_kept_up_to_a_number },
                { "a_channel_without_a_path_is_refused", a_channel_without_a_path_is_refused },
                { "a_run_is_not_closed_from_within", a_run_is_not_closed_from_within });
