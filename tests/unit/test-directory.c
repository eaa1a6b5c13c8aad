/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/directory.h"
#include "base/io.h"
#include "base/socket.h"
#include "test.h"

#define ATTACKER 65534

static char top[] = "/tmp/tractor-directory-XXXXXX";

static char *in(const char *path)
{
        char *s = xasprintf("%s/%s", top, path);

        CHECK(s);
        return s;
}

static void make(const char *path, mode_t mode, uid_t uid)
{
        _cleanup_free_ char *s = in(path);

        CHECK(mkdir(s, 0700) >= 0 && chmod(s, mode) >= 0);
        CHECK(uid == geteuid() || chown(s, uid, uid) >= 0);
}

static int open_trusted(const char *path, mode_t mode)
{
        _cleanup_free_ char *s = in(path);
        int r = directory_open_trusted(s, mode);

        if (r >= 0)
                safe_close(r);
        return MIN(r, 0);
}

static void test_plain(void)
{
        _cleanup_free_ char *link = in("link"), *relative = in("a/up"), *loop = in("loop"),
                            *file = in("file"), *open = in("open");
        struct stat st;

        make("a", 0755, geteuid());
        CHECK_EQ(open_trusted("a", 0), 0);
        CHECK_EQ(open_trusted("a/b/c", 0), -ENOENT);
        CHECK_EQ(open_trusted("a/b//c/", 0750), 0);
        CHECK_EQ(open_trusted("a/b/c", 0), 0);
        CHECK(symlink("a/b", link) >= 0 && symlink("../a/b/c", relative) >= 0 && symlink("loop", loop) >= 0);
        CHECK_EQ(open_trusted("link/c", 0), 0);
        CHECK_EQ(open_trusted("a/up/made", 0700), 0);
        CHECK_EQ(open_trusted("a/b/c/made", 0), 0);
        CHECK_EQ(open_trusted("loop/x", 0700), -ELOOP);
        CHECK_EQ(close(creat(file, 0600)), 0);
        CHECK_EQ(open_trusted("file/x", 0700), -ENOTDIR);
        /* Open to all is no place, unless it is sticky. */
        make("open", 0777, geteuid());
        CHECK_EQ(open_trusted("open", 0), -EPERM);
        CHECK_EQ(open_trusted("open/x", 0700), -EPERM);
        CHECK(chmod(open, 01777) >= 0);
        CHECK_EQ(open_trusted("open/x", 0700), 0);
        CHECK(chmod(open, 0777) >= 0);
        CHECK_EQ(open_trusted("open/x", 0), -EPERM);
        CHECK(stat(link, &st) >= 0);
}

static void test_relative(void)
{
        CHECK(chdir(top) >= 0);
        CHECK_EQ(directory_check_parent("x.sock"), 0);
        CHECK_EQ(directory_check_parent("rel/x.sock"), -ENOENT);
        make("rel", 0777, geteuid());
        CHECK_EQ(directory_check_parent("rel/x.sock"), -EPERM);
        CHECK_EQ(directory_check_parent("/x.sock"), 0);
}

static void test_others(void)
{
        _cleanup_free_ char *link = in("sticky/link"), *target = in("ours");

        if (geteuid() != 0)
                skip("not root: nothing can belong to someone else");
        make("ours", 0700, 0);
        make("theirs", 0755, ATTACKER);
        CHECK_EQ(open_trusted("theirs", 0), -EPERM);
        CHECK_EQ(open_trusted("theirs/x", 0700), -EPERM);
        make("theirs/x", 0700, 0);
        CHECK_EQ(open_trusted("theirs/x", 0), -EPERM);
        make("sticky", 01777, 0);
        CHECK(symlink(target, link) >= 0 && lchown(link, ATTACKER, ATTACKER) >= 0);
        CHECK_EQ(open_trusted("sticky/link", 0), -EPERM);
        CHECK_EQ(lchown(link, 0, 0), 0);
        CHECK_EQ(open_trusted("sticky/link", 0), 0);
}

/* Swaps a directory of its own with a link to one of ours, as fast as it can. */
static pid_t start_attacker(const char *a, const char *b)
{
        pid_t pid = fork();

        CHECK(pid >= 0);
        if (pid > 0)
                return pid;
        if (setgroups(0, NULL) < 0 || setgid(ATTACKER) < 0 || setuid(ATTACKER) < 0 ||
                        prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
                _exit(1);
        for (;;)
                if (syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, 2 /* RENAME_EXCHANGE */) < 0)
                        _exit(2);
}

/* Sticky and open to all, as /tmp: what stands in it is an attacker's, then not, and nothing of ours is ever made, bound
 * or removed where a link of theirs leads. */
static void test_attacker(void)
{
        _cleanup_free_ char *dir = in("tmp/spot"), *link = in("tmp/link"), *vault = in("vault"),
                            *sock = in("tmp/spot/control.sock"), *precious = in("vault/control.sock"),
                            *made = in("tmp/spot/made"), *vault_made = in("vault/made");
        struct stat before, after;
        int fd, status, refused = 0;
        pid_t pid;

        if (geteuid() != 0)
                skip("not root: nothing can belong to someone else");
        make("tmp", 01777, 0);
        make("vault", 0700, 0);
        make("tmp/spot", 0755, ATTACKER);
        CHECK(symlink(vault, link) >= 0 && lchown(link, ATTACKER, ATTACKER) >= 0);
        fd = listen_at(precious, 0600); /* one that nobody listens at any more: it would be replaced */
        CHECK(fd >= 0);
        safe_close(fd);
        CHECK(lstat(precious, &before) >= 0);
        pid = start_attacker(dir, link);
        for (int i = 0; i < 20000; i++) {
                fd = listen_at(sock, 0666);
                CHECK(fd == -EPERM);
                fd = directory_open_trusted(made, 0777);
                CHECK(fd == -EPERM);
                refused++;
        }
        CHECK_EQ(waitpid(pid, &status, WNOHANG), 0); /* it was at it all the time */
        CHECK(kill(pid, SIGKILL) >= 0 && waitpid(pid, &status, 0) == pid);
        CHECK(lstat(precious, &after) >= 0 && before.st_ino == after.st_ino &&
                        before.st_mode == after.st_mode);
        CHECK(lstat(vault_made, &after) < 0 && errno == ENOENT);
        CHECK_EQ(refused, 20000);
}

int main(int argc, char **argv)
{
        static const TestCase cases[] = {
                { "plain", test_plain },
                { "relative", test_relative },
                { "others", test_others },
                { "attacker", test_attacker },
        };
        _cleanup_free_ char *remove = NULL;
        int r;

        CHECK(mkdtemp(top));
        CHECK(chmod(top, 0755) >= 0);
        r = test_main(argc, argv, cases, ELEMENTSOF(cases));
        remove = xasprintf("rm -rf %s", top);
        CHECK(remove && chdir("/") >= 0 && system(remove) == 0);
        return r;
}
