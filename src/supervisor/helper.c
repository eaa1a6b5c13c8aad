/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/usec.h"
#include "supervisor/helper.h"

struct Helper {
        pid_t pid;
        int answer_fd;
        size_t max;
        sd_event_source *child, *timer;
        helper_handler_t handler;
        void *userdata;
};

/* sd-event wants SIGCHLD blocked even where it watches a pidfd. */
int child_watch(sd_event *event, pid_t pid, sd_event_child_handler_t handler, void *userdata,
                sd_event_source **ret)
{
        sigset_t mask;

        if (sigemptyset(&mask) < 0 || sigaddset(&mask, SIGCHLD) < 0 ||
                        sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
                return -errno;
        return sd_event_add_child(event, ret, pid, WEXITED, handler, userdata);
}

sd_event_source *child_abandon(sd_event_source *s)
{
        int enabled = SD_EVENT_OFF;

        if (!s)
                return NULL;
        (void) sd_event_source_get_enabled(s, &enabled);
        if (enabled != SD_EVENT_OFF) {
                (void) sd_event_source_set_userdata(s, NULL);
                (void) sd_event_source_set_floating(s, true);
        }
        return sd_event_source_unref(s);
}

/* Killed, but perhaps not at once gone: a file server may hang. */
static void abandon(Helper *h)
{
        int enabled = SD_EVENT_OFF;

        if (h->child && sd_event_source_get_enabled(h->child, &enabled) >= 0 && enabled != SD_EVENT_OFF)
                (void) sd_event_source_send_child_signal(h->child, SIGKILL, NULL, 0);
        h->child = child_abandon(h->child);
}

Helper *helper_free(Helper *h)
{
        if (!h)
                return NULL;
        abandon(h);
        h->timer = sd_event_source_disable_unref(h->timer);
        safe_close(h->answer_fd);
        free(h);
        return NULL;
}

/* Hands the answer over; the handler may free the helper. */
static void finish(Helper *h, int r)
{
        _cleanup_free_ char *text = malloc(h->max + 1);
        helper_handler_t handler = h->handler;
        void *userdata = h->userdata;
        ssize_t n = 0;

        h->timer = sd_event_source_disable_unref(h->timer);
        if (text && r >= 0)
                n = pread(h->answer_fd, text, h->max, 0);
        if (!text || n < 0) {
                handler(text ? -errno : -ENOMEM, "", 0, userdata);
                return;
        }
        text[n] = 0;
        handler(r, text, (size_t) n, userdata);
}

static int on_child(sd_event_source *s, const siginfo_t *si, void *userdata)
{
        Helper *h = userdata;

        if (!h) {
                (void) sd_event_source_set_floating(s, false);
                return 0;
        }
        finish(h, si->si_code == CLD_EXITED && si->si_status == EXIT_SUCCESS ? 0 : -EPROTO);
        return 0;
}

static int on_timeout(sd_event_source *s, uint64_t usec, void *userdata)
{
        Helper *h = userdata;

        abandon(h);
        finish(h, -ETIMEDOUT);
        return 0;
}

static int spawn_attributes(posix_spawnattr_t *attr)
{
        sigset_t none, all;

        (void) sigemptyset(&none);
        (void) sigfillset(&all);
        (void) posix_spawnattr_setsigmask(attr, &none);
        (void) posix_spawnattr_setsigdefault(attr, &all);
        return posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
}

int child_spawn(const char *path, char *const *argv, const posix_spawn_file_actions_t *actions, pid_t *ret)
{
        posix_spawnattr_t attr;
        int r = posix_spawnattr_init(&attr);

        if (r != 0)
                return -r;
        r = spawn_attributes(&attr) ?: posix_spawn(ret, path, actions, &attr, argv, environ);
        (void) posix_spawnattr_destroy(&attr);
        return -r;
}

static int spawn_helper(Helper *h, char *const *args)
{
        _cleanup_free_ char **argv = calloc(strv_length(args) + 2, sizeof(char *));
        posix_spawn_file_actions_t actions;
        int r;

        if (!argv)
                return -ENOMEM;
        argv[0] = (char *) "tractor-supervisor";
        memcpy(argv + 1, args, strv_length(args) * sizeof(char *));
        r = posix_spawn_file_actions_init(&actions);
        if (r != 0)
                return -r;
        r = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0) ?:
                        posix_spawn_file_actions_adddup2(&actions, h->answer_fd, STDOUT_FILENO) ?:
                        -child_spawn("/proc/self/exe", argv, &actions, &h->pid);
        (void) posix_spawn_file_actions_destroy(&actions);
        return -r;
}

/* A child we can't watch must not stay: it is killed and, having only just begun, is soon reaped. */
static int watch_helper(Helper *h, sd_event *event, uint64_t timeout_usec)
{
        int r;

        r = child_watch(event, h->pid, on_child, h, &h->child);
        if (r < 0) {
                (void) kill(h->pid, SIGKILL);
                (void) waitpid(h->pid, NULL, 0);
                return r;
        }
        return sd_event_add_time_relative(event, &h->timer, CLOCK_MONOTONIC, timeout_usec, 0, on_timeout, h);
}

int helper_run(sd_event *event, char *const *args, size_t max, uint64_t timeout_usec,
                helper_handler_t handler, void *userdata, Helper **ret)
{
        _cleanup_(helper_freep) Helper *h = calloc(1, sizeof(Helper));
        int r;

        if (!h)
                return -ENOMEM;
        h->max = max;
        h->handler = handler;
        h->userdata = userdata;
        h->answer_fd = memfd_create("tractor-helper", MFD_CLOEXEC);
        if (h->answer_fd < 0)
                return -errno;
        r = spawn_helper(h, args);
        if (r < 0)
                return r;
        r = watch_helper(h, event, timeout_usec);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(h);
        return 0;
}

void helper_begin(const char *name, unsigned seconds)
{
        (void) prctl(PR_SET_NAME, name);
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void) alarm(seconds);
}
