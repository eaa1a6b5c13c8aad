/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/directory.h"
#include "base/io.h"
#include "embed/locate.h"
#include "test.h"
#include "tractorctl/tree-file.h"

/* --- tree files --- */

static char dir[] = "/tmp/tractor-test-ctl-XXXXXX";

static void write_file(const char *path, const char *text)
{
        FILE *f = fopen(path, "we");

        CHECK(f);
        CHECK(fputs(text, f) >= 0);
        CHECK_EQ(fclose(f), 0);
}

static void test_tree_file(void)
{
        _cleanup_free_ char *path = xasprintf("%s/t.json", dir), *e = NULL, *expected = NULL;
        Json *v = NULL;

        write_file(path,
                        "{\"name\":\"t\",\"children\":[{\"name\":\"a\",\"exec\":[\"./"
                        "x\"]},{\"name\":\"b\",\"exec\":[],"
                        "\"cwd\":\"/z\"},{\"name\":\"c\",\"children\":[{\"exec\":7},3]},{\"name\":\"d\"}]}");
        CHECK_EQ(tree_file_read(path, &v, &e), 0);
        expected = xasprintf(
                        "{\"name\":\"t\",\"children\":[{\"name\":\"a\",\"exec\":[\"./x\"],\"cwd\":\"%s\"},"
                        "{\"name\":\"b\",\"exec\":[],\"cwd\":\"/"
                        "z\"},{\"name\":\"c\",\"children\":[{\"exec\":7,"
                        "\"cwd\":\"%s\"},3]},{\"name\":\"d\"}]}",
                        dir, dir);
        CHECK_STR(json_print(v, NULL), expected);
        json_unref(v);
        CHECK_EQ(unlink(path), 0);
}

static void test_tree_file_broken(void)
{
        _cleanup_free_ char *path = xasprintf("%s/t.json", dir), *e = NULL, *e2 = NULL, *e3 = NULL,
                            *place = NULL;
        Json *v = NULL;

        write_file(path, "{\"name\":\"t\",\n  \"a\" 1}");
        CHECK_EQ(tree_file_read(path, &v, &e), -EBADMSG);
        place = xasprintf("%s:2:7: ", path);
        CHECK(startswith(e, place));
        CHECK_EQ(unlink(path), 0);
        CHECK_EQ(tree_file_read(path, &v, &e2), -ENOENT);
        CHECK(strstr(e2, "No such file"));
        CHECK_EQ(tree_file_read(dir, &v, &e3), -EISDIR);
        CHECK(!v);
}

/* --- which supervisor --- */

static int listen_at(const char *path)
{
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        CHECK(fd >= 0);
        CHECK(strlen(path) < sizeof(sa.sun_path));
        strcpy(sa.sun_path, path);
        CHECK_EQ(bind(fd, (struct sockaddr *) &sa, sizeof(sa)), 0);
        CHECK_EQ(listen(fd, 8), 0);
        return fd;
}

static void expect_connect(
                const LocateChoice *o, const Surroundings *s, int r, const char *path, const char *says)
{
        _cleanup_free_ char *p = NULL, *e = NULL;
        _cleanup_close_ int fd = -EBADF;

        CHECK_EQ(locate_connect(o, s, &fd, &p, &e), r);
        CHECK_EQ(fd >= 0, r == 0);
        CHECK_STR(p, path);
        CHECK_EQ(!e, r == 0);
        if (says)
                CHECK(strstr(e, says));
}

static pid_t dead_pid(void)
{
        pid_t pid = fork();

        CHECK(pid >= 0);
        if (pid == 0)
                _exit(0);
        CHECK_EQ(waitpid(pid, NULL, 0), pid);
        return pid;
}

static void test_locate_names(void)
{
        size_t n = 0;
        pid_t pid = 0;

        CHECK(locate_parse_name("a-b.c-12.sock", &n, &pid));
        CHECK_EQ(n, 5);
        CHECK_EQ(pid, 12);
        CHECK(!locate_parse_name("a.sock", &n, &pid));
        CHECK(!locate_parse_name("-12.sock", &n, &pid));
        CHECK(!locate_parse_name("a-.sock", &n, &pid));
        CHECK(!locate_parse_name("a-1x.sock", &n, &pid));
        CHECK(locate_parse_name("a--1.sock", &n, &pid));
        CHECK_EQ(n, 2);
        CHECK(!locate_parse_name("a-99999999999.sock", &n, &pid));
        CHECK(!locate_parse_name("a-1.sockets", &n, &pid));
}

static void test_locate_dirs(void)
{
        _cleanup_free_ char *a =
                        locate_run_dir(&(Surroundings){ .uid = 0, .runtime_dir = "/x", .root = "" });
        _cleanup_free_ char *b =
                        locate_run_dir(&(Surroundings){ .uid = 5, .runtime_dir = "/x", .root = "" });
        _cleanup_free_ char *c = locate_run_dir(&(Surroundings){ .uid = 5, .root = "" });

        CHECK_STR(a, "/run/tractor/run");
        CHECK_STR(b, "/x/tractor/run");
        CHECK_STR(c, "/tmp/tractor-5/run");
}

static void test_locate_order(void)
{
        _cleanup_free_ char *root = xasprintf("%s/r", dir), *runtime = xasprintf("%s/x", dir), *run = NULL;
        const Surroundings s = { .uid = getuid(), .runtime_dir = runtime, .root = root };
        Surroundings with_socket = s;
        const LocateChoice none = { 0 }, named = { .run = "one" }, exact = { .run = "one-1" },
                           user = { .user = true }, other = { .run = "two" }, system = { .system = true };
        _cleanup_free_ char *one = NULL, *second = NULL, *dead = NULL, *u = NULL, *sys = NULL, *top = NULL;
        _cleanup_close_ int a = -EBADF, b = -EBADF, us = -EBADF, ss = -EBADF;

        expect_connect(&none, &s, -ENOENT, NULL, "tractorctl run");
        CHECK_EQ(locate_make_run_dir(&s, &run), 0);
        sys = xasprintf("%s/run/tractor/control.sock", root);
        u = xasprintf("%s/tractor/control.sock", runtime);
        top = xasprintf("%s/run/tractor", root);
        safe_close(directory_open_trusted(top, 0755));
        *strrchr(u, '/') = 0;
        safe_close(directory_open_trusted(u, 0755));
        u[strlen(u)] = '/';

        ss = listen_at(sys);
        expect_connect(&none, &s, 0, sys, NULL);
        expect_connect(&system, &s, 0, sys, NULL);
        expect_connect(&user, &s, -ENOENT, NULL, u);
        us = listen_at(u);
        expect_connect(&none, &s, 0, u, NULL);
        expect_connect(&system, &s, 0, sys, NULL);

        one = xasprintf("%s/one-1.sock", run);
        second = xasprintf("%s/one-two-2.sock", run);
        dead = xasprintf("%s/one-%d.sock", run, (int) dead_pid());
        a = listen_at(one);
        (void) safe_close(listen_at(dead));
        expect_connect(&none, &s, 0, one, NULL);
        CHECK_EQ(access(dead, F_OK), -1); /* nobody was there */
        expect_connect(&named, &s, 0, one, NULL);
        expect_connect(&exact, &s, 0, one, NULL);
        expect_connect(&other, &s, -ENOENT, NULL, "two");
        b = listen_at(second);
        expect_connect(&none, &s, -ENOTUNIQ, NULL, "--run NAME");
        expect_connect(&named, &s, 0, one, NULL);

        with_socket.socket = second;
        expect_connect(&none, &with_socket, 0, second, NULL);
        expect_connect(&(LocateChoice){ .socket = sys }, &with_socket, 0, sys, NULL);
        expect_connect(&(LocateChoice){ .socket = "/nowhere" }, &with_socket, -ENOENT, NULL, "/nowhere");
        with_socket.socket = "/nowhere";
        expect_connect(&none, &with_socket, -ENOENT, NULL, "/nowhere");
}

/* One that has just been bound may not listen yet: it isn't removed while its process lives. */
static void test_locate_young(void)
{
        _cleanup_free_ char *root = xasprintf("%s/y", dir), *run = NULL, *path = NULL;
        const Surroundings s = { .uid = getuid(), .runtime_dir = root, .root = root };
        struct timespec old[2] = { { .tv_sec = 1 }, { .tv_sec = 1 } };

        CHECK_EQ(locate_make_run_dir(&s, &run), 0);
        path = xasprintf("%s/me-%d.sock", run, (int) getpid());
        (void) safe_close(listen_at(path));
        expect_connect(&(LocateChoice){ 0 }, &s, -ENOENT, NULL, NULL);
        CHECK_EQ(access(path, F_OK), 0);
        CHECK_EQ(utimensat(AT_FDCWD, path, old, 0), 0);
        expect_connect(&(LocateChoice){ 0 }, &s, -ENOENT, NULL, NULL);
        CHECK_EQ(access(path, F_OK), -1);
}

/* A directory that others may write to isn't believed. */
static void test_locate_untrusted(void)
{
        _cleanup_free_ char *root = xasprintf("%s/z", dir), *run = NULL, *again = NULL, *path = NULL;
        const Surroundings s = { .uid = getuid(), .runtime_dir = root, .root = root };
        _cleanup_close_ int fd = -EBADF;

        CHECK_EQ(locate_make_run_dir(&s, &run), 0);
        path = xasprintf("%s/me-1.sock", run);
        fd = listen_at(path);
        expect_connect(&(LocateChoice){ 0 }, &s, 0, path, NULL);
        CHECK_EQ(chmod(run, 0777), 0);
        expect_connect(&(LocateChoice){ 0 }, &s, -ENOENT, NULL, NULL);
        CHECK_EQ(locate_make_run_dir(&s, &again), -EPERM);
}

static void test_connect_to(void)
{
        char longer[200];

        memset(longer, 'x', sizeof(longer) - 1);
        longer[sizeof(longer) - 1] = 0;
        CHECK_EQ(connect_to(longer), -ENAMETOOLONG);
        CHECK_EQ(connect_to("/nonexistent/socket"), -ENOENT);
}

static void remove_dir(void)
{
        _cleanup_free_ char *command = xasprintf("rm -rf %s", dir);

        if (system(command) != 0)
                fprintf(stderr, "%s stays\n", dir);
}

int main(int argc, char **argv)
{
        static const TestCase tests[] = { { "tree-file", test_tree_file },
                { "tree-file-broken", test_tree_file_broken }, { "locate-names", test_locate_names },
                { "locate-dirs", test_locate_dirs }, { "locate-order", test_locate_order },
                { "locate-young", test_locate_young }, { "locate-untrusted", test_locate_untrusted },
                { "connect-to", test_connect_to } };

        CHECK(mkdtemp(dir));
        CHECK_EQ(atexit(remove_dir), 0);
        return test_main(argc, argv, tests, ELEMENTSOF(tests));
}
