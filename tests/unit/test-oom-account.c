/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/usec.h"
#include "supervisor/oom-account.h"
#include "supervisor/proc.h"
#include "test.h"

/* What happens to an actor, a letter each, in this order:
 *   k  the kernel counts a kill in its cgroup, the main process's or another's
 *   a  news of the memory arrive: the main process is alive, no SIGKILL is pending
 *   d  the same, with a SIGKILL pending, whoever sent it
 *   n  the slice was made anew: the count begins at 0
 *   g  a generation begins
 * and then its main process ends, by SIGKILL or otherwise. */
static const struct {
        const char *story;
        bool by_sigkill;
        bool oom;
        uint64_t survived; /* kills to be told of, from the last generation's beginning on */
} stories[] = {
        /* Nothing was counted. */
        { "", true, false, 0 },
        { "", false, false, 0 },
        { "a", true, false, 0 },
        { "d", true, false, 0 },

        /* One kill: whose? */
        { "k", true, true, 0 },   /* death came before the news */
        { "kd", true, true, 0 },  /* the news came while it was dying */
        { "kdd", true, true, 0 }, /* and other news */
        { "ka", true, false, 1 }, /* it survived: then killed by hand */
        { "kaa", true, false, 1 },
        { "kad", true, false, 1 },  /* news of something else, while the hand's signal was pending */
        { "dk", true, true, 0 },    /* ambiguous: the kernel's word is taken */
        { "k", false, false, 1 },   /* it ended by itself, maybe for that loss */
        { "ka", false, false, 1 },  /* the same, and the loss was known */
        { "kd", false, false, 1 },  /* no SIGKILL in the end, so it was no kill of it either */
        { "kka", false, false, 2 }, /* two at a time */

        /* Another process, then the main one. */
        { "kak", true, true, 1 },
        { "kakd", true, true, 1 },
        { "kk", true, true, 0 }, /* both before the news: memory.oom.group, say */
        { "kkd", true, true, 0 },
        { "kdk", true, true, 0 },
        { "kaka", true, false, 2 },
        { "kkkaka", true, false, 4 },

        /* What an earlier generation lost is not this one's. */
        { "kg", true, false, 0 },
        { "kakg", true, false, 0 },
        { "kagk", true, true, 0 },
        { "kagka", true, false, 1 },

        /* Someone stopped the slice: smaller counts are new ones. */
        { "kkkgn", true, false, 0 },
        { "kkkgnk", true, true, 0 },
        { "kkkgnkd", true, true, 0 },
        { "kkkgnka", true, false, 1 },
        { "kkkgnkak", true, true, 1 },
};

static void run(size_t i)
{
        OomAccount a = { 0 };
        uint64_t count = 0;
        bool oom;

        for (const char *p = stories[i].story; *p; p++) {
                switch (*p) {
                case 'k':
                        count++;
                        break;
                case 'a':
                case 'd':
                        oom_account_look(&a, count, *p == 'd');
                        break;
                case 'n':
                        count = 0;
                        break;
                case 'g':
                        oom_account_begin(&a, count);
                        break;
                default:
                        CHECK(false);
                }
        }
        oom = oom_account_judge(&a, count, stories[i].by_sigkill);
        if (oom != stories[i].oom || a.untold != stories[i].survived)
                fprintf(stderr, "%s, %s: %s, %llu survived\n", stories[i].story,
                                stories[i].by_sigkill ? "SIGKILL" : "another end", oom ? "oom" : "not oom",
                                (unsigned long long) a.untold);
        CHECK_EQ(oom, stories[i].oom);
        CHECK_EQ(a.untold, stories[i].survived);
}

static void test_judgement(void)
{
        for (size_t i = 0; i < ELEMENTSOF(stories); i++)
                run(i);
}

/* The first at once, then all of ten seconds together, and at the end what is left. */
static void test_warnings(void)
{
        uint64_t now = 5 * USEC_PER_SEC;
        OomAccount a = { 0 };

        CHECK_EQ(oom_account_tell(&a, now), 0);
        oom_account_look(&a, 1, false);
        CHECK_EQ(oom_account_tell(&a, now), 1);
        CHECK_EQ(oom_account_tell(&a, now), 0);
        for (uint64_t i = 2; i <= 50; i++) {
                oom_account_look(&a, i, false);
                CHECK_EQ(oom_account_tell(&a, now + i * 100 * USEC_PER_MSEC), 0);
        }
        CHECK_EQ(oom_account_tell(&a, now + 10 * USEC_PER_SEC), 49);
        oom_account_look(&a, 53, false);
        CHECK_EQ(oom_account_tell(&a, now + 11 * USEC_PER_SEC), 0);
        CHECK_EQ(oom_account_tell(&a, USEC_INFINITY), 3);
        CHECK_EQ(oom_account_tell(&a, USEC_INFINITY), 0);
        oom_account_begin(&a, 53);
        oom_account_look(&a, 54, false);
        CHECK_EQ(oom_account_tell(&a, now + 12 * USEC_PER_SEC), 1);
}

static int fork_child(void)
{
        int pid = fork();

        CHECK(pid >= 0);
        if (pid == 0)
                for (;;)
                        pause();
        return pid;
}

static void await_end(int pid, int options)
{
        siginfo_t si;

        CHECK_EQ(waitid(P_PID, (id_t) pid, &si, WEXITED | options), 0);
}

/* What the evidence rests on: a pending SIGKILL is seen, from the moment it was sent until the zombie is gone. */
static void test_pending(void)
{
        int pid = fork_child();

        CHECK_EQ(proc_kill_pending(pid), 0);
        CHECK_EQ(kill(pid, SIGKILL), 0);
        CHECK_EQ(proc_kill_pending(pid), 1);
        await_end(pid, WNOWAIT);
        CHECK_EQ(proc_kill_pending(pid), 1);
        await_end(pid, 0);
        CHECK_EQ(proc_kill_pending(pid), -ESRCH);

        pid = fork_child();
        CHECK_EQ(kill(pid, SIGTERM), 0);
        await_end(pid, WNOWAIT);
        CHECK_EQ(proc_kill_pending(pid), 0);
        await_end(pid, 0);

        /* Held by a tracer, say, or stopped: pending is pending. */
        pid = fork_child();
        CHECK_EQ(kill(pid, SIGSTOP), 0);
        CHECK_EQ(waitpid(pid, NULL, WUNTRACED), pid);
        CHECK_EQ(proc_kill_pending(pid), 0);
        CHECK_EQ(kill(pid, SIGKILL), 0);
        CHECK_EQ(proc_kill_pending(pid), 1);
        await_end(pid, 0);
}

TEST_MAIN({ "judgement", test_judgement }, { "warnings", test_warnings }, { "pending", test_pending });
