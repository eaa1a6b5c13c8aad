/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <json-c/json.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "actors-rig.h"

static time_t now(void)
{
        struct timespec t;

        (void) clock_gettime(CLOCK_MONOTONIC, &t);
        return t.tv_sec;
}

pid_t rig_fork(const tractor_options *o, int (*body)(void *userdata), void *userdata)
{
        pid_t pid;

        CHECK_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
        pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
                /* What hangs dies of this, and shows where in a core or a debugger. */
                (void) alarm(RIG_PATIENCE_SEC);
                exit(-tractor_run(o, body, userdata));
        }
        return pid;
}

/* The processes that are left, for whoever reads why a test failed. */
static _Noreturn void complain(pid_t root)
{
        fprintf(stderr, "%d has left processes:\n", (int) root);
        (void) !system("ps -eo pid,ppid,stat,wchan:20,args --forest | tail -60 >&2");
        abort();
}

int rig_join(pid_t root)
{
        time_t until = now() + RIG_PATIENCE_SEC + 10;
        int status, of_root = -1;
        pid_t pid;

        while ((pid = waitpid(-1, &status, WNOHANG)) >= 0) {
                if (pid == root)
                        of_root = status;
                if (pid == 0) {
                        if (now() > until)
                                complain(root);
                        (void) poll(NULL, 0, 1);
                }
        }
        CHECK_EQ(errno, ECHILD);
        return of_root;
}

void rig_run(const tractor_options *o, int (*body)(void *userdata), void *userdata)
{
        int status = rig_join(rig_fork(o, body, userdata));

        CHECK(WIFEXITED(status));
        CHECK_EQ(WEXITSTATUS(status), 0);
}

/* One that is killed before its supervisor runs leaves its socket's file, until somebody looks for it there. */
int rig_kill(pid_t root)
{
        const char *dir = geteuid() == 0 ? "/run" : getenv("XDG_RUNTIME_DIR");
        char path[256];
        int status;

        CHECK_EQ(kill(root, SIGKILL), 0);
        status = rig_join(root);
        (void) snprintf(path, sizeof(path), "%s/tractor/run/%s-%d.sock", dir ?: "/run",
                        program_invocation_short_name, (int) root);
        (void) unlink(path);
        return status;
}

static bool is_child(const char *pid, pid_t parent, const char *comm)
{
        char path[64], name[32] = "", state;
        FILE *f;
        int ppid, n;

        (void) snprintf(path, sizeof(path), "/proc/%.20s/stat", pid);
        f = fopen(path, "re");
        n = f ? fscanf(f, "%*d (%31[^)]) %c %d", name, &state, &ppid) : 0;
        if (f)
                (void) fclose(f);
        return n == 3 && ppid == parent && strncmp(name, comm, 15) == 0;
}

pid_t rig_child_of(pid_t parent, const char *comm)
{
        DIR *d = opendir("/proc");
        struct dirent *e;
        pid_t found = 0;

        CHECK(d);
        while ((e = readdir(d)))
                if (is_child(e->d_name, parent, comm))
                        found = (pid_t) strtol(e->d_name, NULL, 10);
        (void) closedir(d);
        CHECK(found > 0);
        return found;
}

pid_t rig_keeper(void)
{
        return rig_child_of(getpid(), "tractord");
}

pid_t rig_supervisor(void)
{
        return rig_child_of(rig_keeper(), "tractor-supervisor");
}

static int channel = -1;

int rig_main(const tractor_options *o)
{
        const char *fd = getenv("TRACTOR_CHANNEL_FD");

        channel = fd ? (int) strtol(fd, NULL, 10) : -1;
        return tractor_main(o, NULL, NULL);
}

/* What is said to the journal goes by datagrams. */
static bool is_connection(int fd)
{
        struct sockaddr_storage peer;
        socklen_t length = sizeof(peer), size = sizeof(int);
        int type;

        return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) >= 0 && type == SOCK_STREAM &&
               getpeername(fd, (struct sockaddr *) &peer, &length) >= 0;
}

unsigned rig_tear(bool of_channel)
{
        static const char half[] = "{\"jsonrpc\":\"2.0\",\"met";
        unsigned n = 0;

        for (int fd = 3; fd < 256; fd++) {
                if (!is_connection(fd) || (fd == channel) != of_channel)
                        continue;
                /* One that is torn already is seen here until its owner's next turn; one that is full is torn in some
                 * earlier line. */
                if (send(fd, half, sizeof(half) - 1, MSG_NOSIGNAL) < 0 && errno == EPIPE)
                        continue;
                CHECK_EQ(shutdown(fd, SHUT_RDWR), 0);
                n++;
        }
        return n;
}

struct json_object *rig_object(const char *key, const char *value)
{
        struct json_object *o = json_object_new_object();

        json_object_object_add(o, key, json_object_new_string(value));
        return o;
}

void rig_must(int r)
{
        char *text = r < 0 ? tractor_error_format(tractor_last_error()) : NULL;

        if (text)
                fprintf(stderr, "%s", text);
        free(text);
        CHECK_EQ(r, 0);
}
