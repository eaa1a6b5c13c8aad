/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/directory.h"
#include "base/io.h"
#include "supervisor/probe.h"
#include "wire/scan.h"

#define DATAGRAM_MAX 4096
#define STATUS_MAX 256
/* A datagram is worth one turn of the loop; a flood is slowed to this many turns in this time and then blocks its
 * sender, since the queue of a datagram socket is short. */
#define DATAGRAMS_INTERVAL (100 * USEC_PER_MSEC)
#define DATAGRAMS_BURST 64
/* Before exits and timers: an actor that says READY=1 and ends at once, or feeds its watchdog in the last moment,
 * was in time. */
#define NOTIFY_PRIORITY (SD_EVENT_PRIORITY_NORMAL - 10)

typedef struct Notice {
        bool ready, watchdog, stopping, has_status;
        char status[STATUS_MAX + 1];
} Notice;

/* The longest whole characters that fit; control characters would reach a terminal and become spaces. False when it
 * is not UTF-8. */
static bool take_status(Notice *n, const char *text, size_t size)
{
        const char *end = text + size;
        bool full = false;
        size_t used = 0;

        while (text < end) {
                size_t k = scan_utf8(text, end);

                if (k == 0)
                        return false;
                full |= used + k > STATUS_MAX;
                if (!full) {
                        memcpy(n->status + used, text, k);
                        if ((unsigned char) *text < 0x20 || *text == 0x7f)
                                n->status[used] = ' ';
                        used += k;
                }
                text += k;
        }
        n->status[used] = 0;
        return true;
}

static void take_line(Notice *n, const char *line, size_t size)
{
        static const char status[] = "STATUS=";

        if (size == strlen("READY=1") && memcmp(line, "READY=1", size) == 0)
                n->ready = true;
        else if (size == strlen("WATCHDOG=1") && memcmp(line, "WATCHDOG=1", size) == 0)
                n->watchdog = true;
        else if (size == strlen("STOPPING=1") && memcmp(line, "STOPPING=1", size) == 0)
                n->stopping = true;
        else if (size >= strlen(status) && memcmp(line, status, strlen(status)) == 0)
                n->has_status = take_status(n, line + strlen(status), size - strlen(status));
}

static bool take_datagram(Notice *n, const char *data, size_t size)
{
        const char *end;

        /* Some senders count the terminator. */
        if (size > 0 && data[size - 1] == 0)
                size--;
        if (memchr(data, 0, size))
                return false;
        end = data + size;
        for (const char *line = data; line < end;) {
                const char *stop = memchr(line, '\n', (size_t) (end - line)) ?: end;

                take_line(n, line, (size_t) (stop - line));
                line = stop + 1;
        }
        return true;
}

static void deliver(Probe *p, const Notice *n)
{
        if (n->has_status)
                p->events->status(n->status, p->userdata);
        if (n->watchdog && !p->freed)
                p->events->watchdog(p->userdata);
        if (n->ready && !p->freed && p->spec->ready == READY_NOTIFY && !p->succeeded)
                probe_succeed(p);
        if (n->stopping && !p->freed)
                p->events->stopping(p->userdata);
}

/* A plain recv() has no room for control data, so the kernel drops descriptors that came along without ever giving
 * them to us; a barrier (sd_notify_barrier) is thereby answered, too. */
static int on_datagram(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
        Probe *p = userdata;
        char data[DATAGRAM_MAX];
        Notice n = { 0 };
        ssize_t k;

        k = recv(fd, data, sizeof(data), MSG_DONTWAIT | MSG_TRUNC);
        if (k < 0 || (size_t) k > sizeof(data) || !take_datagram(&n, data, (size_t) k))
                return 0;
        probe_pin(p);
        deliver(p, &n);
        probe_unpin(p);
        return 0;
}

/* The directory is ours, searchable by all and listable by none: an actor finds its socket by the name it was told. */
static int make_directory(const char *path)
{
        _cleanup_close_ int fd = -EBADF;
        struct stat st;

        if (mkdir(path, 0711) < 0 && errno != EEXIST)
                return -errno;
        fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (st.st_uid != geteuid())
                return -EPERM;
        return fchmod(fd, 0711) < 0 ? -errno : 0; /* whatever our umask is */
}

static int notify_address(const ProbeOptions *options, struct sockaddr_un *ret, char **ret_path)
{
        _cleanup_free_ char *dir = xasprintf("%s/notify", options->runtime_dir), *path = NULL;
        int r;

        path = dir ? xasprintf("%s/%s", dir, options->actor_id) : NULL;
        if (!path)
                return -ENOMEM;
        if (strlen(path) >= sizeof(ret->sun_path))
                return -ENAMETOOLONG;
        r = directory_open_trusted(options->runtime_dir, 0755);
        if (r < 0)
                return r;
        safe_close(r);
        r = make_directory(dir);
        if (r < 0)
                return r;
        *ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
        memcpy(ret->sun_path, path, strlen(path) + 1);
        *ret_path = TAKE_PTR(path);
        return 0;
}

/* The mode of a socket's file is taken from the socket at bind(2), so it is never more open than it ends. */
static int notify_bind(int fd, const struct sockaddr_un *address, uid_t uid)
{
        if (fchmod(fd, 0600) < 0)
                return -errno;
        if (unlink(address->sun_path) < 0 && errno != ENOENT)
                return -errno;
        if (bind(fd, (const struct sockaddr *) address, sizeof(*address)) < 0)
                return -errno;
        if (uid != geteuid() && lchown(address->sun_path, uid, (gid_t) -1) < 0) {
                int r = -errno;

                (void) unlink(address->sun_path);
                return r;
        }
        return 0;
}

int probe_notify_open(Probe *p, const ProbeOptions *options)
{
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        _cleanup_free_ char *path = NULL;
        struct sockaddr_un address;
        int r;

        if (fd < 0)
                return -errno;
        r = notify_address(options, &address, &path);
        if (r < 0)
                return r;
        r = notify_bind(fd, &address, options->uid);
        if (r < 0)
                return r;
        p->notify_path = TAKE_PTR(path);
        r = sd_event_add_io(p->event, &p->notify, fd, EPOLLIN, on_datagram, p);
        if (r < 0)
                return r;
        r = sd_event_source_set_priority(p->notify, NOTIFY_PRIORITY);
        if (r < 0)
                return r;
        r = sd_event_source_set_ratelimit(p->notify, DATAGRAMS_INTERVAL, DATAGRAMS_BURST);
        if (r < 0)
                return r;
        p->notify_fd = TAKE_FD(fd);
        return 0;
}
