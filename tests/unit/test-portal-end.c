/* SPDX-License-Identifier: Apache-2.0 */
/* Portals to another process, and how they end. */
#include <sys/epoll.h>

#include "portal-fixture.h"

static int echo(tractor_context *c, Json *args, Json **ret)
{
        *ret = json_ref(args);
        return 0;
}

static int forever(tractor_context *c, Json *args, Json **ret)
{
        return tractor_sleep_forever();
}

static int stream(tractor_context *c, Json *args, Json **ret)
{
        CHECK_EQ(tractor_context_started(c, NULL, NULL), 0);
        CHECK_EQ(tractor_send(c, NULL), 0);
        return tractor_sleep_forever();
}

static int die(tractor_context *c, Json *args, Json **ret)
{
        (void) kill(getpid(), SIGKILL);
        return 0;
}

/* Stops itself, which whoever waits for an answer can't know. */
static int stop(tractor_context *c, Json *args, Json **ret)
{
        (void) kill(getpid(), SIGSTOP);
        return 0;
}

static const tractor_method methods[] = {
        { "echo", echo, NULL, NULL },
        { "forever", forever, NULL, NULL },
        { "stream", stream, NULL, NULL },
        { "die", die, NULL, NULL },
        { "stop", stop, NULL, NULL },
        { NULL },
};

typedef int (*Body)(Forked *f, tractor_portal *p);

typedef struct Run {
        Forked forked;
        Body body;
        const PortalOptions *options;
} Run;

static int run_main(void *userdata)
{
        Run *run = userdata;
        tractor_portal *p = NULL;
        int r;

        CHECK_EQ(portal_new(runtime, run->forked.fd, run->options, &p), 0);
        r = run->body(&run->forked, p);
        tractor_portal_unref(p);
        return r;
}

static void run(Body body, const PortalOptions *o, int expected)
{
        Run k = { .body = body, .options = o ?: &(PortalOptions){ 0 } };

        k.forked = fork_server(methods);
        CHECK_EQ(tractor_run(NULL, run_main, &k), 0);
        CHECK_EQ(reap(k.forked.pid), expected);
}

static int leaves(Forked *f, tractor_portal *p)
{
        _cleanup_json_ Json *answer = NULL;
        Json *args = NULL;

        CHECK_EQ(json_pack(&args, "[s]", "hello"), 0);
        CHECK_EQ(tractor_portal_call(p, "echo", args, &answer), 0);
        CHECK_STR(json_string(json_item(answer, 0)), "hello");
        return 0;
}

static void a_server_ends_with_its_peer(void)
{
        Forked f = fork_server(methods);

        safe_close(f.fd);
        CHECK_EQ(reap(f.pid), 0);
        run(leaves, NULL, 0);
}

static int is_lost(Forked *f, tractor_portal *p)
{
        tractor_context *c = NULL;
        Json *item;

        CHECK_EQ(tractor_context_open(p, "stream", NULL, NULL, &c, NULL), 0);
        CHECK_EQ(tractor_portal_call(p, "die", NULL, NULL), -ECONNRESET);
        CHECK_EQ(tractor_receive(c, &item), 1); /* what came before the end is given */
        CHECK_EQ(tractor_receive(c, &item), 0);
        CHECK_EQ(tractor_send(c, NULL), -EPIPE);
        CHECK_EQ(tractor_context_close(&c, 0, NULL), -ECONNRESET);
        CHECK_EQ(tractor_portal_call(p, "echo", NULL, NULL), -ECONNRESET);
        CHECK_EQ(tractor_portal_tell(p, "echo", NULL), -ECONNRESET);
        CHECK_EQ(tractor_portal_try_tell(p, "echo", NULL), -ECONNRESET);
        CHECK_STR(tractor_error_type(tractor_last_error()), "ConnectionLost");
        CHECK_EQ(tractor_context_open(p, "stream", NULL, NULL, &c, NULL), -ECONNRESET);
        return 0;
}

static void a_lost_connection_is_told(void)
{
        run(is_lost, NULL, -SIGKILL);
}

static Json *killed(void)
{
        Json *exit = NULL;

        CHECK_EQ(json_pack(&exit, "{cause:s, signal:s}", "signal", "SIGKILL"), 0);
        return exit;
}

typedef struct Teller {
        Forked *f;
        tractor_portal *p;
        uint64_t told;
} Teller;

/* As the supervisor does it: on another connection, and a little later. */
static int tells_exit(void *userdata)
{
        _cleanup_json_ Json *exit = killed();
        Teller *t = userdata;
        siginfo_t info;

        CHECK_EQ(tractor_wait_child(t->f->pid, &info), 0);
        CHECK_EQ(info.si_status, SIGKILL);
        t->told = tractor_now();
        portal_peer_exited(t->p, exit, NULL, NULL);
        return 0;
}

static int is_told(Forked *f, tractor_portal *p)
{
        Teller t = { .f = f, .p = p };
        tractor_context *c = NULL;
        Json *item;
        TRACTOR_NURSERY(n);

        CHECK_STR(tractor_portal_path(p), "/shop/calc");
        CHECK_STR(tractor_portal_id(p), "calc-1");
        CHECK_EQ(tractor_portal_pid(p), 7);
        CHECK_EQ(tractor_context_open(p, "stream", NULL, NULL, &c, NULL), 0);
        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_task(n, "teller", tells_exit, &t, NULL), 0);
        CHECK_EQ(tractor_portal_call(p, "die", NULL, NULL), -EOWNERDEAD);
        CHECK(tractor_now() - t.told < SESSION_LINGER_MS * USEC_PER_MSEC);
        CHECK_STR(json_get_string(tractor_error_exit(tractor_last_error()), "signal", NULL), "SIGKILL");
        CHECK_STR(tractor_error_actor(tractor_last_error()), "/shop/calc");
        CHECK_EQ(tractor_receive(c, &item), 1);
        CHECK_EQ(tractor_receive(c, &item), 0);
        CHECK_EQ(tractor_context_close(&c, -EPIPE, NULL), -EOWNERDEAD);
        CHECK_EQ(tractor_portal_call(p, "echo", NULL, NULL), -EOWNERDEAD);
        CHECK_EQ(tractor_portal_tell(p, "echo", NULL), -EOWNERDEAD);
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        return 0;
}

static void a_death_is_told_as_it_was(void)
{
        static const PortalOptions o = { .path = "/shop/calc", .id = "calc-1", .pid = 7, .exit_told = true };

        Run k = { .forked = fork_server(methods), .body = is_told, .options = &o };

        CHECK_EQ(tractor_run(NULL, run_main, &k), 0);
}

/* The word about the end comes first; then there is an answer in the socket. */
static int overtaken(void *unused)
{
        _cleanup_json_ Json *exit = killed(), *answer = NULL;
        PortalOptions o = { .path = "/a", .exit_told = true };
        static const char said[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"last words\"}\n{\"jsonrpc";
        tractor_context *c = NULL;
        tractor_portal *p = NULL;
        int fds[2];

        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        CHECK_EQ(portal_new(runtime, fds[0], &o, &p), 0);
        CHECK_EQ(write(fds[1], said, strlen(said)), (ssize_t) strlen(said));
        portal_peer_exited(p, exit, NULL, NULL);
        CHECK_EQ(tractor_portal_call(p, "ask", NULL, &answer), 0);
        CHECK_STR(json_string(answer), "last words");
        /* Somebody still holds the other end, and half a line is there. */
        CHECK_EQ(tractor_portal_call(p, "ask", NULL, NULL), -EOWNERDEAD);
        /* What is begun after that is told so, too, though the connection has not ended. */
        CHECK_EQ(tractor_portal_call(p, "ask", NULL, NULL), -EOWNERDEAD);
        CHECK_EQ(tractor_portal_tell(p, "ask", NULL), -EOWNERDEAD);
        CHECK_EQ(tractor_context_open(p, "ask", NULL, NULL, &c, NULL), -EOWNERDEAD);
        CHECK_STR(json_get_string(tractor_error_exit(tractor_last_error()), "signal", NULL), "SIGKILL");
        safe_close(fds[1]);
        tractor_portal_unref(p);
        return 0;
}

static void what_was_said_before_the_end_is_heard(void)
{
        CHECK_EQ(tractor_run(NULL, overtaken, NULL), 0);
}

static int cuts_a_line(void *unused)
{
        tractor_portal *p = NULL;
        int fds[2];
        pid_t pid;

        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
                char c;

                if (read(fds[1], &c, 1) != 1 ||
                                write(fds[1], "{\"jsonrpc\":\"2.0\",\"id\":1,\"res", 27) != 27)
                        _exit(1);
                _exit(0);
        }
        safe_close(fds[1]);
        CHECK_EQ(tractor_portal_open_fds(fds[0], fds[0], &p), 0);
        CHECK_EQ(tractor_portal_call(p, "ask", NULL, NULL), -ECONNRESET);
        tractor_portal_unref(p);
        CHECK_EQ(reap(pid), 0);
        return 0;
}

static void a_line_that_is_cut_is_no_answer(void)
{
        CHECK_EQ(tractor_run(NULL, cuts_a_line, NULL), 0);
}

static int asks(void *portal)
{
        return tractor_portal_call(portal, "ask", NULL, NULL);
}

/* The peer has been cancelled for the same reason and has said so, and that is read before the cancelled task runs: its turn of
 * the loop is over with the tick of the clock. */
static int is_overtaken(void *unused)
{
        static const char said[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32800,\"message\":"
                                   "\"cancelled: stop\"}}\n";
        PortalOptions o = { .path = "/a" };
        tractor_portal *p = NULL;
        Nursery *n = NULL;
        uint64_t began;
        int fds[2];

        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        CHECK_EQ(portal_new(runtime, fds[0], &o, &p), 0);
        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_start_task(n, "asks", asks, p, NULL), 0);
        CHECK_EQ(tractor_wait_fd(fds[1], EPOLLIN), EPOLLIN);
        tractor_nursery_cancel(n, "stop");
        CHECK_EQ(write(fds[1], said, strlen(said)), (ssize_t) strlen(said));
        began = now_usec(CLOCK_MONOTONIC_COARSE);
        while (now_usec(CLOCK_MONOTONIC_COARSE) == began)
                ;
        CHECK_EQ(tractor_nursery_close(&n, 0), 0);
        safe_close(fds[1]);
        tractor_portal_unref(p);
        return 0;
}

static void a_cancelled_call_is_no_failure(void)
{
        CHECK_EQ(tractor_run(NULL, is_overtaken, NULL), 0);
}

static int outlasts(Forked *f, tractor_portal *p)
{
        tractor_call_options o = { .size = sizeof(o), .deadline_usec = 5 * TRACTOR_MSEC };

        CHECK_EQ(tractor_portal_call_with(p, "forever", NULL, &o, NULL), -ETIMEDOUT);
        CHECK_STR(tractor_error_type(tractor_last_error()), "DeadlineExceeded");
        /* It can't keep it: then we do, a while later. */
        CHECK_EQ(tractor_portal_call_with(p, "stop", NULL, &o, NULL), -ETIMEDOUT);
        tractor_scope *s = tractor_move_on_after(TRACTOR_MSEC);
        CHECK_EQ(tractor_portal_call(p, "echo", NULL, NULL), -ECANCELED);
        CHECK_EQ(tractor_scope_close(s, -ECANCELED), 0);
        CHECK_EQ(kill(f->pid, SIGCONT), 0);
        return leaves(f, p);
}

static void a_stopped_peer_holds_nobody_for_ever(void)
{
        run(outlasts, NULL, 0);
}

typedef struct Killer {
        tractor_scope *scope;
        pid_t pid;
} Killer;

static int kill_after_cancel(void *userdata)
{
        Killer *k = userdata;

        while (!tractor_scope_cancelled(k->scope))
                CHECK_EQ(tractor_sleep(TRACTOR_MSEC), 0);
        CHECK_EQ(kill(k->pid, SIGKILL), 0);
        return 0;
}

/* The task is cancelled, and then the peer dies: that is no failure of the task's. */
static int dies_cancelled(Forked *f, tractor_portal *p)
{
        Killer k = { .pid = f->pid };
        int r;
        TRACTOR_NURSERY(n);

        CHECK_EQ(leaves(f, p), 0);
        CHECK_EQ(kill(f->pid, SIGSTOP), 0);
        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        k.scope = tractor_move_on_after(5 * TRACTOR_MSEC);
        CHECK_EQ(tractor_start_task(n, NULL, kill_after_cancel, &k, NULL), 0);
        r = tractor_portal_call(p, "forever", NULL, NULL);
        CHECK_EQ(r, -ECANCELED);
        CHECK_EQ(tractor_scope_close(k.scope, r), 0);
        return tractor_nursery_close(&n, 0);
}

static void a_cancelled_task_does_not_mind_a_death(void)
{
        run(dies_cancelled, NULL, -SIGKILL);
}

/* It answers calls, and says no hello. */
static int serves_plainly(void *userdata)
{
        PortalOptions o = { .path = "/plain", .hello_usec = 5 * TRACTOR_MSEC };
        tractor_context *c = NULL;
        tractor_portal *p = NULL;

        CHECK_EQ(portal_new(runtime, *(int *) userdata, &o, &p), 0);
        CHECK_EQ(tractor_context_open(p, "stream", NULL, NULL, &c, NULL), -EOPNOTSUPP);
        CHECK_EQ(tractor_context_open(p, "stream", NULL, NULL, &c, NULL), -EOPNOTSUPP);
        CHECK_STR(tractor_error_type(tractor_last_error()), "Unsupported");
        CHECK_EQ(tractor_portal_call(p, "anything", NULL, NULL), 0);
        tractor_portal_unref(p);
        return 0;
}

static void who_says_no_hello_is_asked_plainly(void)
{
        static const char said[] = "{\"jsonrpc\":\"2.0\",\"id\":3,\"result\":true}\n";
        char buffer[4096];
        int fds[2];
        pid_t pid;

        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
                safe_close(fds[0]);
                for (;;) {
                        ssize_t n = read(fds[1], buffer, sizeof(buffer) - 1);

                        if (n <= 0)
                                _exit(0);
                        buffer[n] = 0;
                        if (strstr(buffer, "anything") && write(fds[1], said, strlen(said)) < 0)
                                _exit(1);
                }
        }
        safe_close(fds[1]);
        CHECK_EQ(tractor_run(NULL, serves_plainly, &fds[0]), 0);
        CHECK_EQ(reap(pid), 0);
}

TEST_MAIN({ "who_says_no_hello_is_asked_plainly", who_says_no_hello_is_asked_plainly },
                { "a_server_ends_with_its_peer", a_server_ends_with_its_peer },
                { "a_lost_connection_is_told", a_lost_connection_is_told },
                { "a_death_is_told_as_it_was", a_death_is_told_as_it_was },
                { "what_was_said_before_the_end_is_heard", what_was_said_before_the_end_is_heard },
                { "a_line_that_is_cut_is_no_answer", a_line_that_is_cut_is_no_answer },
                { "a_cancelled_call_is_no_failure", a_cancelled_call_is_no_failure },
                { "a_stopped_peer_holds_nobody_for_ever", a_stopped_peer_holds_nobody_for_ever },
                { "a_cancelled_task_does_not_mind_a_death", a_cancelled_task_does_not_mind_a_death });
