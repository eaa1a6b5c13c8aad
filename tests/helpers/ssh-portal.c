/* SPDX-License-Identifier: Apache-2.0 */
/* Both ends of a portal over the pipes of a program that carries bytes, an ssh: `serve` is the far end; the others start COMMAND and talk to whoever
 * is behind it. What they find is checked; all has to be over in a while.
 *
 * usage: ssh-portal serve | ssh-portal actor | ssh-portal talk|attach|attach-lose-peer|lose-carrier|lose-peer COMMAND… */
#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "handlers.h"
#include "test.h"

#define LIMIT (20 * TRACTOR_SEC)

/* --- the far end --- */
static const tractor_method methods[] = { { "get_pid", get_pid }, { "echo", echo }, { "mirror", mirror },
        { NULL } };

static int serve(void *unused)
{
        TRACTOR_NURSERY(n);
        int r = tractor_nursery_open(NULL, &n);

        if (r >= 0)
                r = tractor_serve_fds(n, STDIN_FILENO, STDOUT_FILENO, methods);
        return tractor_nursery_close(&n, r);
}

static int idle(void *unused)
{
        return tractor_sleep_forever();
}

/* --- the near end --- */
typedef struct Far {
        char **command;
        int (*talk)(struct Far *f);
        pid_t carrier;
        tractor_portal *portal;
        bool killed;
} Far;

static void start(Far *f)
{
        int to[2], from[2];

        CHECK(pipe2(to, O_CLOEXEC) == 0 && pipe2(from, O_CLOEXEC) == 0);
        f->carrier = fork();
        CHECK(f->carrier >= 0);
        if (f->carrier == 0) {
                if (dup2(to[0], 0) == 0 && dup2(from[1], 1) == 1)
                        (void) execvp(f->command[0], f->command);
                _exit(127);
        }
        (void) close(to[0]);
        (void) close(from[1]);
        CHECK_EQ(tractor_portal_open_fds(from[0], to[1], &f->portal), 0);
}

static int body(void *userdata)
{
        Far *f = userdata;
        tractor_scope *s = tractor_fail_after(LIMIT);
        siginfo_t end;
        int r;

        start(f);
        r = f->talk(f);
        f->portal = tractor_portal_unref(f->portal);
        CHECK_EQ(tractor_wait_child(f->carrier, &end), 0);
        CHECK_EQ(end.si_code, f->killed ? CLD_KILLED : CLD_EXITED);
        return tractor_scope_close(s, r);
}

/* More than pipes hold. */
static void check_echo(Far *f)
{
        enum { LENGTH = 500000 };
        struct json_object *args = json_object_new_array(), *result = NULL;
        char *text = malloc(LENGTH);

        CHECK(text);
        memset(text, 'x', LENGTH);
        json_object_array_add(args, json_object_new_string_len(text, LENGTH));
        free(text);
        CHECK_EQ(tractor_portal_call(f->portal, "echo", args, &result), 0);
        CHECK_EQ(json_object_get_string_len(json_object_array_get_idx(result, 0)), LENGTH);
        json_object_put(result);
}

static tractor_context *open_mirror(Far *f)
{
        tractor_context *c = NULL;

        CHECK_EQ(tractor_context_open(f->portal, "mirror", NULL, NULL, &c, NULL), 0);
        for (int i = 0; i < 1000; i++) {
                struct json_object *item = NULL;

                CHECK_EQ(tractor_send(c, json_object_new_int(i)), 0);
                CHECK_EQ(tractor_receive(c, &item), 1);
                CHECK_EQ(json_object_get_int(item), i);
                json_object_put(item);
        }
        return c;
}

static int talk(Far *f)
{
        tractor_context *c;

        check_echo(f);
        c = open_mirror(f);
        check_echo(f);
        return tractor_context_close(&c, 0, NULL);
}

/* With a dialog under way. */
static int lose(Far *f, pid_t victim, int r)
{
        tractor_context *c = open_mirror(f);
        struct json_object *item = NULL;

        CHECK_EQ(kill(victim, SIGKILL), 0);
        CHECK_EQ(tractor_receive(c, &item), 0); /* why, is told at the close */
        CHECK_EQ(tractor_context_close(&c, 0, NULL), r);
        CHECK_EQ(tractor_portal_call(f->portal, "echo", NULL, NULL), r);
        return 0;
}

static int get_far_pid(Far *f)
{
        struct json_object *pid = NULL;
        int r;

        CHECK_EQ(tractor_portal_call(f->portal, "get_pid", NULL, &pid), 0);
        r = json_object_get_int(pid);
        json_object_put(pid);
        return r;
}

/* The far end is a supervisor, which hands us over to an actor. */
static void attach(Far *f)
{
        struct json_object *args = json_object_new_object();

        json_object_object_add(args, "path", json_object_new_string("/t/a"));
        CHECK_EQ(tractor_portal_call(f->portal, "actor.attach", args, NULL), 0);
}

static int attach_and_talk(Far *f)
{
        attach(f);
        return talk(f);
}

static int attach_and_lose_peer(Far *f)
{
        struct json_object *exit;

        attach(f);
        (void) lose(f, get_far_pid(f), -EOWNERDEAD);
        exit = tractor_error_exit(tractor_last_error());
        CHECK_STR(json_object_get_string(json_object_object_get(exit, "signal")), "SIGKILL");
        CHECK_STR(tractor_error_actor(tractor_last_error()), "/t/a");
        return 0;
}

static int lose_carrier(Far *f)
{
        f->killed = true;
        return lose(f, f->carrier, -ECONNRESET);
}

static int lose_peer(Far *f)
{
        return lose(f, get_far_pid(f), -ECONNRESET);
}

int main(int argc, char **argv)
{
        static const struct {
                const char *name;
                int (*talk)(Far *f);
        } modes[] = { { "talk", talk }, { "attach", attach_and_talk },
                { "attach-lose-peer", attach_and_lose_peer }, { "lose-carrier", lose_carrier },
                { "lose-peer", lose_peer } };
        static const tractor_options options = { .size = sizeof(options), .methods = methods };
        Far f = { .command = argv + 2 };

        if (argc == 2 && streq(argv[1], "actor"))
                return tractor_main(&options, idle, NULL);
        if (argc == 2 && streq(argv[1], "serve"))
                return tractor_main(NULL, serve, NULL);
        for (size_t i = 0; argc > 2 && i < ELEMENTSOF(modes); i++)
                if (streq(argv[1], modes[i].name))
                        f.talk = modes[i].talk;
        CHECK(f.talk);
        return tractor_main(NULL, body, &f);
}
