/* SPDX-License-Identifier: Apache-2.0 */

/* The least an actor can do: tell when main() began, in one datagram to BENCH_SOCKET, and wait. Named by its argument, else
 * by its working directory (so that the same binary serves as a run script for other supervisors). */

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static const char *last_part(const char *path)
{
        const char *slash = strrchr(path, '/');

        return slash ? slash + 1 : path;
}

int main(int argc, char **argv)
{
        struct sockaddr_un to = { .sun_family = AF_UNIX };
        const char *path = getenv("BENCH_SOCKET"), *ready = getenv("BENCH_READY_FD");
        char cwd[4096] = "", line[256];
        struct timespec now;
        int fd, n;

        (void) clock_gettime(CLOCK_MONOTONIC, &now);
        if (!path || strlen(path) >= sizeof(to.sun_path))
                return 1;
        memcpy(to.sun_path, path, strlen(path));
        if (argc < 2 && !getcwd(cwd, sizeof(cwd)))
                return 1;
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        n = snprintf(line, sizeof(line), "%s %d %lld", argc > 1 ? argv[1] : last_part(cwd), (int) getpid(),
                        (long long) now.tv_sec * 1000000000LL + now.tv_nsec);
        if (fd < 0 || sendto(fd, line, (size_t) n, 0, (struct sockaddr *) &to, sizeof(to)) < 0)
                return 1;
        (void) close(fd);
        if (ready)
                (void) write(atoi(ready), "\n", 1);
        for (;;)
                (void) pause();
}
