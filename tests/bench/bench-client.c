/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Clients of a control socket, without any code of ours: what they do is what any client has to do.
 *
 *      bench-client raw N                   N echoes over a socketpair: a print and a parse by json-c at either end
 *      bench-client ping SOCKET N PAUSE_US  N times supervisor.ping, the same print and parse, a pause between two
 *      bench-client echo SOCKET N PATH      the same with an actor, over the connection that it was given by actor.attach
 *      bench-client idle SOCKET N           N connections that say nothing, until stdin ends
 *      bench-client hostile SOCKET N KINDS  N by turns of these kinds: 0 pings without end, 1 lines of nearly 1 MiB, 2 tiny
 *                                           wrong lines, 3 subscribers that never read, 4 a client whose loading and
 *                                           unloading makes events for them; until stdin ends
 *
 * raw and ping print a time a line, in nanoseconds; the others a line once they are at it. */

#define BIG 1000000

static _Noreturn void die(const char *what)
{
        perror(what);
        exit(1);
}

static uint64_t now(void)
{
        struct timespec ts;

        if (clock_gettime(CLOCK_MONOTONIC, &ts) < 0)
                die("clock_gettime");
        return (uint64_t) ts.tv_sec * 1000000000U + (uint64_t) ts.tv_nsec;
}

static int connect_to(const char *path)
{
        struct sockaddr_un un = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (strlen(path) >= sizeof(un.sun_path))
                errno = ENAMETOOLONG, die(path);
        strcpy(un.sun_path, path);
        if (fd < 0 || connect(fd, (struct sockaddr *) &un, sizeof(un)) < 0)
                die(path);
        return fd;
}

/* --- one at a time --- */

static void send_object(int fd, struct json_object *v)
{
        size_t n;
        const char *text = json_object_to_json_string_length(v, JSON_C_TO_STRING_PLAIN, &n);
        char line[512];

        if (n + 1 >= sizeof(line))
                abort();
        memcpy(line, text, n);
        line[n] = '\n';
        if (write(fd, line, n + 1) != (ssize_t) n + 1)
                die("write");
        json_object_put(v);
}

/* NULL at the end. */
static struct json_object *receive_object(int fd)
{
        char line[512];
        size_t n = 0;
        struct json_object *v;

        do {
                ssize_t k = read(fd, line + n, sizeof(line) - 1 - n);

                if (k <= 0)
                        return NULL;
                n += (size_t) k;
        } while (line[n - 1] != '\n');
        line[n] = 0;
        v = json_tokener_parse(line);
        if (!v)
                abort();
        return v;
}

static struct json_object *request(int id, const char *method)
{
        struct json_object *v = json_object_new_object();

        json_object_object_add(v, "jsonrpc", json_object_new_string("2.0"));
        json_object_object_add(v, "id", json_object_new_int(id));
        json_object_object_add(v, "method", json_object_new_string(method));
        return v;
}

static _Noreturn void echo(int fd)
{
        struct json_object *v;

        while ((v = receive_object(fd))) {
                struct json_object *reply = json_object_new_object();

                json_object_object_add(reply, "jsonrpc", json_object_new_string("2.0"));
                json_object_object_add(reply, "id", json_object_get(json_object_object_get(v, "id")));
                json_object_object_add(reply, "result", json_object_new_object());
                json_object_put(v);
                send_object(fd, reply);
        }
        _exit(0);
}

static void ask(int fd, const char *method, int n, unsigned pause_usec)
{
        uint64_t *times = calloc((size_t) n, sizeof(uint64_t));

        for (int i = 0; i < n; i++) {
                struct json_object *reply;
                uint64_t begin = now();

                send_object(fd, request(i, method));
                reply = receive_object(fd);
                if (!reply || json_object_get_int(json_object_object_get(reply, "id")) != i ||
                                !json_object_object_get(reply, "result"))
                        abort();
                json_object_put(reply);
                times[i] = now() - begin;
                if (pause_usec > 0)
                        (void) usleep(pause_usec);
        }
        for (int i = 0; i < n; i++)
                printf("%lu\n", (unsigned long) times[i]);
        free(times);
}

static void raw(int n)
{
        int pair[2];

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
                die("socketpair");
        switch (fork()) {
        case -1:
                die("fork");
        case 0:
                close(pair[0]);
                echo(pair[1]);
        }
        close(pair[1]);
        ask(pair[0], "supervisor.ping", n, 0);
        close(pair[0]);
        (void) wait(NULL);
}

static void attach(int fd, const char *path)
{
        struct json_object *v = request(0, "actor.attach"), *params = json_object_new_object(), *reply;

        json_object_object_add(params, "path", json_object_new_string(path));
        json_object_object_add(v, "params", params);
        send_object(fd, v);
        reply = receive_object(fd);
        if (!reply || !json_object_object_get(reply, "result"))
                abort();
        json_object_put(reply);
}

static void echo_of_actor(const char *path, int n, const char *actor)
{
        int fd = connect_to(path);

        attach(fd, actor);
        ask(fd, "echo", n, 0);
}

/* --- many --- */

typedef struct Flood {
        int fd;
        const char *text;
        size_t n, at;
        int reads, paced; /* once an answer came */
} Flood;

static char *repeat(const char *line, size_t times)
{
        size_t n = strlen(line);
        char *text = malloc(n * times + 1);

        for (size_t i = 0; i < times; i++)
                memcpy(text + i * n, line, n + 1);
        return text;
}

static char *big_line(void)
{
        char *text = malloc(BIG + 100);
        size_t n = (size_t) sprintf(text,
                        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"supervisor.ping\",\"params\":{\"x\":[");

        while (n < BIG)
                n += (size_t) sprintf(text + n, "\"%016zu\",", n);
        (void) sprintf(text + n, "1]}}\n");
        return text;
}

static void set_up_flood(Flood *f, int kind)
{
        static const char *texts[5];

        if (!texts[0]) {
                texts[0] = repeat("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"supervisor.ping\"}\n", 1000);
                texts[1] = big_line();
                texts[2] = repeat("1\n", 20000);
                texts[4] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tree.load\",\"params\":{\"tree\":{"
                           "\"tractor\":1,"
                           "\"name\":\"e\",\"children\":[]}}}\n"
                           "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"tree.unload\",\"params\":{\"path\":"
                           "\"/e\"}}\n";
        }
        if (kind == 3) {
                static const char subscribe[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"events."
                                                "subscribe\",\"$\":{\"ctx\":"
                                                "true,\"credit\":1000000}}\n";

                if (write(f->fd, subscribe, sizeof(subscribe) - 1) < 0)
                        die("write");
                return;
        }
        f->text = texts[kind];
        f->n = strlen(f->text);
        f->reads = 1;
        f->paced = kind == 4;
}

static void turn(Flood *f, uint32_t events)
{
        static char heard[1 << 18];
        ssize_t k;

        if (f->reads && (events & EPOLLIN))
                while (recv(f->fd, heard, sizeof(heard), MSG_DONTWAIT) == sizeof(heard))
                        ;
        if (f->n == 0 || !(events & (f->paced ? EPOLLIN : EPOLLOUT)))
                return;
        k = send(f->fd, f->text + f->at, f->n - f->at, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (k > 0)
                f->at = (f->at + (size_t) k) % f->n;
        else if (k < 0 && errno != EAGAIN)
                die("a flood was cut off");
}

static void hostile(const char *path, int n, const char *kinds)
{
        Flood *floods = calloc((size_t) n, sizeof(Flood));
        int epoll = epoll_create1(EPOLL_CLOEXEC);
        struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };

        if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event) < 0)
                die("epoll");
        for (int i = 0; i < n; i++) {
                floods[i].fd = connect_to(path);
                set_up_flood(&floods[i], kinds[(size_t) i % strlen(kinds)] - '0');
                event.events = !floods[i].n ? 0 : floods[i].paced ? EPOLLIN : EPOLLIN | EPOLLOUT;
                if (floods[i].paced)
                        turn(&floods[i], EPOLLIN);
                event.data.ptr = &floods[i];
                if (epoll_ctl(epoll, EPOLL_CTL_ADD, floods[i].fd, &event) < 0)
                        die("epoll");
        }
        puts("at it");
        fflush(stdout);
        for (;;) {
                struct epoll_event events[16];
                int k = epoll_wait(epoll, events, 16, -1);

                for (int i = 0; i < k; i++)
                        if (!events[i].data.ptr)
                                return;
                        else
                                turn(events[i].data.ptr, events[i].events);
        }
}

static void idle(const char *path, int n)
{
        char c;

        for (int i = 0; i < n; i++) {
                int fd = connect_to(path);

                /* Once served: what a connection keeps after it has said something counts. */
                send_object(fd, request(i, "supervisor.ping"));
                json_object_put(receive_object(fd));
        }
        puts("at it");
        fflush(stdout);
        (void) !read(STDIN_FILENO, &c, 1);
}

int main(int argc, char **argv)
{
        if (argc == 3 && strcmp(argv[1], "raw") == 0)
                raw(atoi(argv[2]));
        else if (argc == 5 && strcmp(argv[1], "ping") == 0)
                ask(connect_to(argv[2]), "supervisor.ping", atoi(argv[3]), (unsigned) atoi(argv[4]));
        else if (argc == 5 && strcmp(argv[1], "echo") == 0)
                echo_of_actor(argv[2], atoi(argv[3]), argv[4]);
        else if (argc == 4 && strcmp(argv[1], "idle") == 0)
                idle(argv[2], atoi(argv[3]));
        else if (argc == 5 && strcmp(argv[1], "hostile") == 0)
                hostile(argv[2], atoi(argv[3]), argv[4]);
        else
                return 2;
        return 0;
}
