/* SPDX-License-Identifier: Apache-2.0 */

/* The keeper's long limits, with its clock moved on by the test instead of waited for; see moved-clock.h. */

#include "keeper-rig.h"
#include "moved-clock.h"

#define LIMIT_SEC (KEEPER_REAP_LIMIT_USEC / USEC_PER_SEC)

static char *const service[] = { (char *) "--system", NULL };

static volatile uint64_t *ahead_sec;

static pid_t spawn_ended(Rig *r, uint64_t key, int *ret_pidfd)
{
        pid_t pid;

        rig_spawn_sh(r, key, 0, "exit 7");
        pid = rig_expect_spawned(r, key, ret_pidfd);
        rig_expect_setup(r, key, SPAWN_STEP_EXEC, 0);
        rig_expect_exited(r, key, CLD_EXITED, 7);
        return pid;
}

/* The keeper has seen its clock when it has answered. What is due then comes before a child's end that it sees later. */
static void move_on(Rig *r, uint64_t sec)
{
        static uint64_t key = 100;

        *ahead_sec += sec;
        rig_barrier(r);
        (void) spawn_ended(r, ++key, NULL);
        rig_simple(r, KEEPER_REAP, key);
}

/* The state of an entry, and how many descriptors came with it. */
static size_t expect_ended_entry(Rig *r, uint64_t key, pid_t pid)
{
        Reply entries[4];
        size_t n = rig_hello(r, entries, ELEMENTSOF(entries)), n_fds = 0;
        bool found = false;

        for (size_t i = 0; i < n; i++) {
                if (entries[i].header.key == key) {
                        found = true;
                        n_fds = entries[i].n_fds;
                        CHECK_EQ(entries[i].entry.child_state, KEEPER_CHILD_EXITED);
                        CHECK_EQ(entries[i].entry.pid, pid);
                        CHECK_EQ(entries[i].entry.exit.status, 7);
                }
                reply_done(&entries[i]);
        }
        CHECK(found);
        return n_fds;
}

/* An end that nobody acknowledges holds its pid for half a minute, each its own, and how it ended for as long as the
 * supervisor likes. */
static void test_reap_limit(void)
{
        Rig r = { 0 };
        pid_t first, second;
        int first_fd, second_fd;
        Reply entries[4];

        rig_up(&r, service);
        first = spawn_ended(&r, 1, &first_fd);
        move_on(&r, 10);
        second = spawn_ended(&r, 2, &second_fd);
        move_on(&r, LIMIT_SEC - 15);
        CHECK_EQ(process_state(first), 'Z');
        CHECK_EQ(expect_ended_entry(&r, 1, first), 1);
        move_on(&r, 10);
        CHECK_EQ(process_state(first), 0);
        CHECK_EQ(process_state(second), 'Z');
        CHECK_EQ(expect_ended_entry(&r, 1, first), 0); /* no pidfd: the pid may be another's by now */
        CHECK_EQ(expect_ended_entry(&r, 2, second), 1);
        move_on(&r, 10);
        CHECK_EQ(process_state(second), 0);
        rig_simple(&r, KEEPER_REAP, 1);
        rig_simple(&r, KEEPER_REAP, 2);
        CHECK_EQ(rig_hello(&r, entries, ELEMENTSOF(entries)), 0);
        safe_close(first_fd);
        safe_close(second_fd);
        rig_down(&r);
}

int main(int argc, char **argv)
{
        static const TestCase cases[] = { { "reap_limit", test_reap_limit } };
        int r;

        rig_init(argc, argv);
        ahead_sec = moved_clock_new();
        r = test_main(argc, argv, cases, ELEMENTSOF(cases));
        moved_clock_free();
        return r;
}
