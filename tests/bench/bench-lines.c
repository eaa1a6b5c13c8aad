/* SPDX-License-Identifier: Apache-2.0 */
/* bench-lines WHAT N: what bench-calls is measured against, without any code of ours; prints ns each. Two processes and a socketpair;
 * the lines are those of the protocol, printed and parsed by json-c.
 *
 *   call    a request of the peer, a result back     echo    a $/next there, another one back
 *   up      items of 64 bytes as $/next one way, a line a write, read as they come
 *   limit   the same in one process and without the socket: build, print, parse
 *   big     items of 64 KiB one way                  big-bytes    their bytes alone, neither printed nor parsed */

#include <json-c/json.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BIG 65536
#define ROOM (4 * BIG)

static _Noreturn void die(const char *what)
{
        perror(what);
        exit(1);
}

static uint64_t now_nsec(void)
{
        struct timespec t;

        (void) clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t) t.tv_sec * 1000000000 + (uint64_t) t.tv_nsec;
}

/* --- values --- */

static struct json_object *envelope(void)
{
        struct json_object *v = json_object_new_object();

        json_object_object_add(v, "jsonrpc", json_object_new_string("2.0"));
        return v;
}

static struct json_object *request(int64_t id)
{
        struct json_object *v = envelope();

        json_object_object_add(v, "id", json_object_new_int64(id));
        json_object_object_add(v, "method", json_object_new_string("ping"));
        return v;
}

static struct json_object *result(struct json_object *asked)
{
        struct json_object *v = envelope();

        json_object_object_add(v, "id", json_object_get(json_object_object_get(asked, "id")));
        json_object_object_add(v, "result", json_object_new_object());
        return v;
}

static struct json_object *next(struct json_object *value)
{
        struct json_object *v = envelope(), *params = json_object_new_object();

        json_object_object_add(params, "id", json_object_new_int(2));
        json_object_object_add(params, "value", value);
        json_object_object_add(v, "method", json_object_new_string("$/next"));
        json_object_object_add(v, "params", params);
        return v;
}

static struct json_object *item(size_t n)
{
        static char text[BIG];

        memset(text, 'x', n);
        return next(json_object_new_string_len(text, (int) n));
}

/* --- lines --- */

static void write_all(int fd, const char *p, size_t n)
{
        while (n > 0) {
                ssize_t k = write(fd, p, n);

                if (k < 0)
                        die("write");
                p += k;
                n -= (size_t) k;
        }
}

static void send_object(int fd, struct json_object *v)
{
        static char line[ROOM];
        size_t n;
        const char *text = json_object_to_json_string_length(
                        v, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &n);

        memcpy(line, text, n);
        line[n] = '\n';
        write_all(fd, line, n + 1);
        json_object_put(v);
}

static struct json_object *parse(const char *p, size_t n)
{
        static struct json_tokener *tokener;
        struct json_object *v;

        if (!tokener)
                tokener = json_tokener_new();
        json_tokener_reset(tokener);
        v = json_tokener_parse_ex(tokener, p, (int) n);
        if (!v)
                abort();
        return v;
}

/* NULL at the end. */
static struct json_object *receive_object(int fd)
{
        static char buffer[ROOM];
        static size_t start, end, scanned;
        struct json_object *v;
        char *stop;

        while (!(stop = memchr(buffer + scanned, '\n', end - scanned))) {
                ssize_t k;

                scanned = end;
                if (start > 0) {
                        memmove(buffer, buffer + start, end - start);
                        end -= start;
                        scanned -= start;
                        start = 0;
                }
                k = read(fd, buffer + end, sizeof(buffer) - end);
                if (k <= 0)
                        return NULL;
                end += (size_t) k;
        }
        v = parse(buffer + start, (size_t) (stop - buffer) - start);
        start = scanned = (size_t) (stop - buffer) + 1;
        return v;
}

/* --- what is measured: the near end, the far one --- */

static void call(int fd, long n)
{
        for (long i = 0; i < n; i++) {
                send_object(fd, request(i));
                json_object_put(receive_object(fd));
        }
}

static void answer(int fd, long n)
{
        struct json_object *v;

        while ((v = receive_object(fd))) {
                send_object(fd, result(v));
                json_object_put(v);
        }
}

static void echo(int fd, long n)
{
        for (long i = 0; i < n; i++) {
                send_object(fd, next(json_object_new_int64(i)));
                json_object_put(receive_object(fd));
        }
}

static void echo_back(int fd, long n)
{
        struct json_object *v;

        while ((v = receive_object(fd))) {
                struct json_object *value =
                                json_object_object_get(json_object_object_get(v, "params"), "value");

                send_object(fd, next(json_object_get(value)));
                json_object_put(v);
        }
}

/* One byte says that all has been received. */
static void await_end(int fd)
{
        char c;

        (void) shutdown(fd, SHUT_WR);
        if (read(fd, &c, 1) != 1)
                die("read");
}

static void up(int fd, long n)
{
        while (n-- > 0)
                send_object(fd, item(64));
        await_end(fd);
}

static void big(int fd, long n)
{
        while (n-- > 0)
                send_object(fd, item(BIG));
        await_end(fd);
}

static void swallow(int fd, long n)
{
        struct json_object *v;

        while ((v = receive_object(fd)))
                json_object_put(v);
        write_all(fd, "", 1);
}

static void big_bytes(int fd, long n)
{
        static char line[BIG + 70];

        while (n-- > 0)
                write_all(fd, line, sizeof(line));
        await_end(fd);
}

static void swallow_bytes(int fd, long n)
{
        static char buffer[ROOM];

        while (read(fd, buffer, sizeof(buffer)) > 0)
                ;
        write_all(fd, "", 1);
}

static void limit(int fd, long n)
{
        while (n-- > 0) {
                struct json_object *v = item(64);
                size_t k;
                const char *text = json_object_to_json_string_length(
                                v, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &k);

                json_object_put(parse(text, k));
                json_object_put(v);
        }
}

static void nothing(int fd, long n)
{
}

static const struct {
        const char *name;
        void (*near)(int fd, long n);
        void (*far)(int fd, long n);
} kinds[] = { { "call", call, answer }, { "echo", echo, echo_back }, { "up", up, swallow },
        { "limit", limit, nothing }, { "big", big, swallow }, { "big-bytes", big_bytes, swallow_bytes } };

int main(int argc, char **argv)
{
        long n = argc == 3 ? atol(argv[2]) : 0;
        int pair[2];
        uint64_t begin;

        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]) && n > 0; i++) {
                if (strcmp(argv[1], kinds[i].name) != 0)
                        continue;
                if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
                        die("socketpair");
                switch (fork()) {
                case -1:
                        die("fork");
                case 0:
                        close(pair[0]);
                        kinds[i].far(pair[1], n);
                        _exit(0);
                }
                close(pair[1]);
                begin = now_nsec();
                kinds[i].near(pair[0], n);
                printf("%.1f\n", (double) (now_nsec() - begin) / (double) n);
                close(pair[0]);
                (void) wait(NULL);
                return 0;
        }
        (void) fprintf(stderr, "usage: bench-lines call|echo|up|limit|big|big-bytes N\n");
        return 2;
}
