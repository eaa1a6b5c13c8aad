/* SPDX-License-Identifier: Apache-2.0 */

/* The supervisor's end of the keeper's socket, against a keeper that is the test: what becomes of what is sent to one that
 * has just ended. */

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/io.h"
#include "base/usec.h"
#include "supervisor/keeper-link.h"
#include "tests/test.h"

typedef struct Rig {
        sd_event *event;
        KeeperLink *link;
        int keeper;
        unsigned n_gone;
} Rig;

static void on_gone(void *userdata)
{
        Rig *rig = userdata;

        rig->n_gone++;
}

static const KeeperLinkEvents events = { .gone = on_gone };

static void setup(Rig *rig)
{
        int pair[2];

        *rig = (Rig){ 0 };
        CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) >= 0);
        rig->keeper = pair[0];
        CHECK(sd_event_new(&rig->event) >= 0);
        CHECK(keeper_link_new(rig->event, pair[1], &events, rig, &rig->link) >= 0);
}

static void teardown(Rig *rig)
{
        keeper_link_free(rig->link);
        sd_event_unref(rig->event);
        (void) safe_close(rig->keeper);
}

static int null_fd(void)
{
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

        CHECK(fd >= 0);
        return fd;
}

static int spawn(Rig *rig)
{
        return keeper_link_spawn(rig->link, 1, 0, null_fd(), -EBADF, NULL, 0);
}

/* It ends with our HELLO unread, as one that is killed may, or with all read. */
static void keeper_ends(Rig *rig, bool unread)
{
        char buffer[64];

        if (!unread)
                CHECK(recv(rig->keeper, buffer, sizeof(buffer), 0) > 0);
        rig->keeper = safe_close(rig->keeper);
}

/* Nobody is told that his spawn, or what he wants remembered, has failed, when what has happened is the end of all. */
static void sent_to_one_that_has_ended(bool unread)
{
        Rig rig;

        setup(&rig);
        keeper_ends(&rig, unread);
        CHECK_EQ(spawn(&rig), 0);
        CHECK_EQ(keeper_link_store(rig.link, 2, "x", 1, false), 0);
        CHECK_EQ(keeper_link_store(rig.link, 2, "x", 1, true), 0);
        CHECK_EQ(keeper_link_release(rig.link, 1), 0);
        CHECK_EQ(rig.n_gone, 0);
        CHECK(sd_event_run(rig.event, 10 * USEC_PER_SEC) > 0);
        CHECK_EQ(rig.n_gone, 1);
        CHECK_EQ(spawn(&rig), -EPIPE);
        CHECK_EQ(keeper_link_store(rig.link, 2, "x", 1, false), -EPIPE);
        teardown(&rig);
}

static void ended_with_all_read(void)
{
        sent_to_one_that_has_ended(false);
}

static void ended_with_something_unread(void)
{
        sent_to_one_that_has_ended(true);
}

/* A descriptor that is none is this spawn's own trouble. */
static void bad_descriptor(void)
{
        int spec = null_fd(), bad = null_fd();
        Rig rig;

        setup(&rig);
        (void) close(bad);
        CHECK_EQ(keeper_link_spawn(rig.link, 1, 0, spec, bad, NULL, 0), -EBADF);
        CHECK_EQ(spawn(&rig), 0);
        CHECK_EQ(rig.n_gone, 0);
        teardown(&rig);
}

/* Those who may exceed every limit would not meet this one. */
static void drop_capabilities(void)
{
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct none[2] = { 0 };

        CHECK_EQ(syscall(SYS_capset, &header, none), 0);
}

/* Descriptors that are sent and not received, as many as there may be. */
static void put_under_way(int socket)
{
        ssize_t k;

        do {
                int fd = null_fd();

                k = send_fds(socket, "", 1, &fd, 1, 0);
                (void) close(fd);
        } while (k == 1);
        CHECK_EQ(k, -ETOOMANYREFS);
}

static bool is_read(const Rig *rig)
{
        char buffer[4096];

        return recv(rig->keeper, buffer, sizeof(buffer), MSG_DONTWAIT) >= (ssize_t) sizeof(KeeperSpawn);
}

static void others_have_all_descriptors(void)
{
        struct rlimit limit;
        int pair[2];
        Rig rig;

        drop_capabilities();
        CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
        limit.rlim_cur = 64;
        CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
        setup(&rig);
        while (recv(rig.keeper, (char[64]){ 0 }, 64, MSG_DONTWAIT) > 0)
                ;
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) >= 0);
        put_under_way(pair[0]);
        CHECK_EQ(spawn(&rig), 0);
        CHECK(!is_read(&rig));
        CHECK(sd_event_run(rig.event, 0) >= 0);
        (void) close(pair[0]);
        (void) close(pair[1]);
        while (!is_read(&rig))
                CHECK(sd_event_run(rig.event, UINT64_MAX) >= 0);
        CHECK_EQ(rig.n_gone, 0);
        teardown(&rig);
}

TEST_MAIN({ "ended_with_all_read", ended_with_all_read },
                { "ended_with_something_unread", ended_with_something_unread },
                { "bad_descriptor", bad_descriptor },
                { "others_have_all_descriptors", others_have_all_descriptors });
