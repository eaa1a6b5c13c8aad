/* SPDX-License-Identifier: Apache-2.0 */
/* Portals over a pipe for each direction, and over programs that carry bytes. */
#include <fcntl.h>

#include "portal-fixture.h"

static int sum(tractor_context *c, Json *args, Json **ret)
{
        Json *item;
        int64_t k = 0;
        int r;

        CHECK_EQ(tractor_context_started(c, NULL, NULL), 0);
        while ((r = tractor_receive(c, &item)) > 0) {
                k += json_integer(item);
                json_unref(item);
        }
        return r < 0 ? r : json_pack(ret, "I", k);
}

static int length(tractor_context *c, Json *args, Json **ret)
{
        return json_pack(ret, "U", (uint64_t) json_string_length(json_item(args, 0)));
}

static const tractor_method methods[] = { { "sum", sum, NULL, NULL }, { "length", length, NULL, NULL },
        { NULL } };

/* More than a pipe holds. */
static int talk(tractor_portal *p)
{
        _cleanup_free_ char *text = malloc(500000);
        _cleanup_json_ Json *n = NULL, *total = NULL;
        tractor_context *c = NULL;
        Json *args = NULL, *item;

        CHECK(text);
        memset(text, 'x', 500000);
        CHECK_EQ(json_pack(&args, "[o]", json_new_string(text, 500000)), 0);
        CHECK_EQ(tractor_portal_call(p, "length", args, &n), 0);
        CHECK_EQ(json_integer(n), 500000);
        CHECK_EQ(tractor_context_open(p, "sum", NULL, NULL, &c, NULL), 0);
        for (int i = 0; i < 1000; i++) {
                CHECK_EQ(json_pack(&item, "i", i), 0);
                CHECK_EQ(tractor_send(c, item), 0);
        }
        CHECK_EQ(tractor_context_close(&c, 0, &total), 0);
        CHECK_EQ(json_integer(total), 499500);
        return 0;
}

typedef struct Ends {
        int here[2], there[2]; /* in, out */
} Ends;

static int run_between(void *userdata)
{
        Ends *e = userdata;
        tractor_portal *p = NULL;
        TRACTOR_NURSERY(n);

        CHECK_EQ(tractor_nursery_open(NULL, &n), 0);
        CHECK_EQ(tractor_serve_fds(n, e->there[0], e->there[1], methods), 0);
        CHECK_EQ(tractor_portal_open_fds(e->here[0], e->here[1], &p), 0);
        CHECK_EQ(talk(p), 0);
        tractor_portal_unref(p);
        /* The server ends, since it reads the end. */
        return tractor_nursery_close(&n, 0);
}

static void make_pipe(int *read_end, int *write_end)
{
        int fds[2];

        CHECK_EQ(pipe2(fds, O_CLOEXEC), 0);
        *read_end = fds[0];
        *write_end = fds[1];
}

static void pipes_do(void)
{
        Ends e;

        make_pipe(&e.here[0], &e.there[1]);
        make_pipe(&e.there[0], &e.here[1]);
        CHECK_EQ(tractor_run(NULL, run_between, &e), 0);
}

static pid_t start_cat(int *ret_from, int *ret_to)
{
        int in, out;
        pid_t pid;

        make_pipe(&in, ret_to);
        make_pipe(ret_from, &out);
        pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
                CHECK(dup2(in, 0) == 0 && dup2(out, 1) == 1);
                (void) execlp("cat", "cat", NULL);
                _exit(127);
        }
        safe_close(in);
        safe_close(out);
        return pid;
}

static void a_bridge_of_bytes_does(void)
{
        Ends e;
        pid_t back = start_cat(&e.here[0], &e.there[1]), forth = start_cat(&e.there[0], &e.here[1]);

        CHECK_EQ(tractor_run(NULL, run_between, &e), 0);
        CHECK_EQ(reap(back), 0);
        CHECK_EQ(reap(forth), 0);
}

static int loses_reader(void *unused)
{
        tractor_portal *p = NULL;
        int in, out, there[2];

        make_pipe(&in, &there[1]);
        make_pipe(&there[0], &out);
        CHECK_EQ(tractor_portal_open_fds(in, out, &p), 0);
        safe_close(there[0]);
        /* The peer takes nothing any more; that it says nothing either is known when it closes the other one, too. */
        CHECK_EQ(tractor_portal_tell(p, "length", NULL), -ECONNRESET);
        safe_close(there[1]);
        CHECK_EQ(tractor_portal_call(p, "length", NULL, NULL), -ECONNRESET);
        tractor_portal_unref(p);
        return 0;
}

static void a_pipe_without_reader_is_no_signal(void)
{
        CHECK_EQ(tractor_run(NULL, loses_reader, NULL), 0);
}

static int takes_no_file(void *unused)
{
        int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
        tractor_portal *p = NULL;

        CHECK(file >= 0);
        CHECK_EQ(tractor_portal_open_fds(file, file, &p), -EPERM);
        CHECK_EQ(tractor_portal_open_fds(-EBADF, -EBADF, &p), -EBADF);
        CHECK_EQ(fcntl(file, F_GETFD), -1);
        return 0;
}

static void what_cannot_be_waited_for_is_refused(void)
{
        int fds[2];

        CHECK_EQ(tractor_run(NULL, takes_no_file, NULL), 0);
        make_pipe(&fds[0], &fds[1]);
        CHECK_EQ(tractor_portal_open_fds(fds[0], fds[1], NULL), -ENOTCONN);
        CHECK_EQ(fcntl(fds[0], F_GETFD), -1);
        CHECK_EQ(fcntl(fds[1], F_GETFD), -1);
}

TEST_MAIN({ "pipes_do", pipes_do }, { "a_bridge_of_bytes_does", a_bridge_of_bytes_does },
                { "a_pipe_without_reader_is_no_signal", a_pipe_without_reader_is_no_signal },
                { "what_cannot_be_waited_for_is_refused", what_cannot_be_waited_for_is_refused });
