/* SPDX-License-Identifier: Apache-2.0 */

/* The watcher sees files change: here ordinary ones, in a folder that looks like a cgroup. */

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "supervisor/cgroup-watch.h"
#include "test.h"

typedef struct Fixture {
        char dir[32];
        int root;
        sd_event *event;
        CgroupWatcher *watcher;
} Fixture;

typedef struct Seen {
        CgroupWatch *watch;
        int calls;
        bool frees;
} Seen;

static void called(void *userdata)
{
        Seen *s = userdata;

        s->calls++;
        if (s->frees)
                s->watch = cgroup_watch_free(s->watch);
}

static void put(Fixture *f, const char *file, const char *text)
{
        int fd = openat(f->root, file, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

        CHECK(fd >= 0);
        CHECK_EQ(write(fd, text, strlen(text)), strlen(text));
        close(fd);
}

static void fixture_open(Fixture *f)
{
        strcpy(f->dir, "/tmp/test-watch-XXXXXX");
        CHECK(mkdtemp(f->dir));
        f->root = open(f->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        CHECK(f->root >= 0);
        for (const char *p = "abc"; *p; p++) {
                char name[32];

                snprintf(name, sizeof(name), "%c", *p);
                CHECK_EQ(mkdirat(f->root, name, 0755), 0);
                snprintf(name, sizeof(name), "%c/memory.events", *p);
                put(f, name, "oom_kill 0\n");
                snprintf(name, sizeof(name), "%c/cgroup.events", *p);
                put(f, name, "populated 1\n");
        }
        CHECK_EQ(sd_event_new(&f->event), 0);
        CHECK_EQ(cgroup_watcher_new(f->event, f->root, 0, &f->watcher), 0);
}

static void fixture_close(Fixture *f)
{
        char command[64];

        cgroup_watcher_free(f->watcher);
        sd_event_unref(f->event);
        close(f->root);
        snprintf(command, sizeof(command), "rm -r %s", f->dir);
        CHECK_EQ(system(command), 0);
}

/* Until there is nothing more to be done. */
static void turn(Fixture *f)
{
        while (sd_event_run(f->event, 0) > 0)
                ;
}

static void watch_memory(Fixture *f, const char *path, Seen *s)
{
        CHECK_EQ(cgroup_watch_memory(f->watcher, path, called, s, &s->watch), 0);
}

/* At each change, not before the first, and each its own. */
static void test_memory(void)
{
        Seen a = { 0 }, b = { 0 }, empty = { 0 };
        Fixture f;

        fixture_open(&f);
        watch_memory(&f, "/a", &a);
        watch_memory(&f, "/b", &b);
        CHECK_EQ(cgroup_watch_new(f.watcher, "/a", called, &empty, &empty.watch), 0);
        turn(&f);
        CHECK(a.calls == 0 && b.calls == 0 && empty.calls == 0);
        for (int i = 1; i <= 3; i++) {
                put(&f, "a/memory.events", "oom_kill 1\n");
                turn(&f);
                CHECK(a.calls == i && b.calls == 0 && empty.calls == 0);
        }
        put(&f, "a/memory.events", "oom_kill 2\n");
        put(&f, "b/memory.events", "oom_kill 1\n");
        put(&f, "a/memory.events", "oom_kill 3\n");
        turn(&f);
        CHECK(a.calls == 4 && b.calls == 1 && empty.calls == 0);
        put(&f, "a/cgroup.events", "populated 0\n");
        turn(&f);
        CHECK(a.calls == 4 && empty.calls == 1);
        cgroup_watch_free(empty.watch);
        cgroup_watch_free(a.watch);
        cgroup_watch_free(b.watch);
        fixture_close(&f);
}

/* A watch may go in its own call-back, or while that is due. */
static void test_freed(void)
{
        Seen a = { .frees = true }, b = { 0 };
        Fixture f;

        fixture_open(&f);
        watch_memory(&f, "/a", &a);
        watch_memory(&f, "/b", &b);
        put(&f, "a/memory.events", "oom_kill 1\n");
        put(&f, "b/memory.events", "oom_kill 1\n");
        CHECK(sd_event_run(f.event, 0) > 0); /* the news are read, the call-backs due */
        CHECK(a.calls == 0 && b.calls == 0);
        cgroup_watch_free(b.watch);
        turn(&f);
        CHECK(a.calls == 1 && !a.watch && b.calls == 0);
        fixture_close(&f);
}

/* Where there is nothing to watch, and where it goes away and comes back: that is another one. */
static void test_gone(void)
{
        Seen a = { 0 }, again = { 0 };
        Fixture f;

        fixture_open(&f);
        CHECK_EQ(cgroup_watch_memory(f.watcher, "/none", called, &a, &a.watch), -ENOENT);
        watch_memory(&f, "/a", &a);
        CHECK_EQ(unlinkat(f.root, "a/memory.events", 0), 0);
        turn(&f);
        a.calls = 0;
        put(&f, "a/memory.events", "oom_kill 0\n");
        watch_memory(&f, "/a", &again);
        put(&f, "a/memory.events", "oom_kill 1\n");
        turn(&f);
        CHECK(a.calls == 0 && again.calls == 1);
        cgroup_watch_free(a.watch);
        cgroup_watch_free(again.watch);
        fixture_close(&f);
}

/* The second one of a cgroup is refused, and does the first no harm. */
static void test_twice(void)
{
        Seen a = { 0 }, second = { 0 };
        Fixture f;

        fixture_open(&f);
        watch_memory(&f, "/a", &a);
        CHECK_EQ(cgroup_watch_memory(f.watcher, "/a", called, &second, &second.watch), -EEXIST);
        put(&f, "a/memory.events", "oom_kill 1\n");
        turn(&f);
        CHECK(a.calls == 1 && second.calls == 0);
        cgroup_watch_free(a.watch);
        fixture_close(&f);
}

/* A user's watches are bounded: those for memory give way to those for an end. */
static void test_give_way(void)
{
        Seen a = { 0 }, b = { 0 }, c = { 0 }, end_a = { 0 }, end_b = { 0 }, end_c = { 0 };
        Fixture f;
        int r;

        if (unshare(CLONE_NEWUSER) < 0 ||
                        write_file_at(AT_FDCWD, "/proc/sys/user/max_inotify_watches", "2") < 0)
                skip("can't bound our own watches");
        fixture_open(&f);
        watch_memory(&f, "/a", &a);
        watch_memory(&f, "/b", &b);
        CHECK_EQ(cgroup_watch_memory(f.watcher, "/c", called, &c, &c.watch), -ENOSPC);
        CHECK_EQ(cgroup_watch_new(f.watcher, "/a", called, &end_a, &end_a.watch), 0);
        CHECK_EQ(cgroup_watch_new(f.watcher, "/b", called, &end_b, &end_b.watch), 0);
        r = cgroup_watch_new(f.watcher, "/c", called, &end_c, &end_c.watch);
        CHECK_EQ(r, -ENOSPC);
        put(&f, "a/memory.events", "oom_kill 1\n");
        put(&f, "b/memory.events", "oom_kill 1\n");
        put(&f, "a/cgroup.events", "populated 0\n");
        put(&f, "b/cgroup.events", "populated 0\n");
        turn(&f);
        CHECK(a.calls == 0 && b.calls == 0 && end_a.calls == 1 && end_b.calls == 1);
        cgroup_watch_free(a.watch);
        cgroup_watch_free(b.watch);
        cgroup_watch_free(end_a.watch);
        cgroup_watch_free(end_b.watch);
        fixture_close(&f);
}

TEST_MAIN({ "memory", test_memory }, { "freed", test_freed }, { "gone", test_gone }, { "twice", test_twice },
                { "give-way", test_give_way });
