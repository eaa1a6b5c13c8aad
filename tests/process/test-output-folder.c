/* SPDX-License-Identifier: Apache-2.0 */

/* The folder of an instance's log files: what may stand on the way to it, and the names in it. */

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "logger/protocol.h"
#include "supervisor/output-folder.h"
#include "test.h"

static char dir[64];

static void begin(void)
{
        (void) strcpy(dir, "/tmp/tractor-test-XXXXXX");
        CHECK(mkdtemp(dir));
        CHECK_EQ(setenv("STATE_DIRECTORY", dir, 1), 0);
}

static void refused(const char *instance, int error)
{
        char *path = NULL;

        CHECK_EQ(output_folder_open(instance, &path), error);
        CHECK(!path);
}

static void long_paths_keep_apart(void)
{
        char path[40 * 65 + 2] = "";
        _cleanup_free_ char *a = NULL, *b = NULL, *c = NULL;

        for (int i = 0; i < 40; i++) {
                path[i * 65] = '/';
                memset(path + i * 65 + 1, 'x', 64);
        }
        a = output_file_name(path);
        path[1] = 'y';
        b = output_file_name(path);
        path[sizeof(path) - 3] = 'z';
        c = output_file_name(path);
        CHECK(!streq(a, b) && !streq(b, c) && !streq(a, c));
        CHECK(strlen(a) <= LOGGER_NAME_MAX);
}

/* A link of ours is fine, relative or not; a loop ends; one of another user is refused. */
static void links(void)
{
        _cleanup_free_ char *path = NULL, *way = NULL, *through = NULL, *real = NULL, *folder = NULL;
        struct stat st;
        int fd;

        begin();
        way = xasprintf("%s/way", dir);
        real = xasprintf("%s/real", dir);
        through = xasprintf("%s/way/state", dir);
        path = xasprintf("%s/real/state/one", dir);
        CHECK_EQ(mkdir(real, 0700), 0);
        CHECK_EQ(symlink("real/../real", way), 0);
        CHECK_EQ(setenv("STATE_DIRECTORY", through, 1), 0);
        fd = output_folder_open("one", &folder);
        CHECK(fd >= 0);
        CHECK_EQ(stat(path, &st), 0);
        CHECK_EQ(st.st_mode, S_IFDIR | 0700);
        output_folder_clean(fd, folder, true);
        safe_close(fd);
        CHECK_EQ(stat(path, &st), -1);
        if (geteuid() == 0) {
                CHECK_EQ(lchown(way, 65534, 65534), 0);
                refused("one", -ELOOP);
        }
        CHECK_EQ(unlink(way), 0);
        CHECK_EQ(symlink("way", way), 0);
        refused("one", -ELOOP);
        CHECK_EQ(unlink(way), 0);
        CHECK_EQ(mknod(way, S_IFREG | 0600, 0), 0);
        refused("one", -ENOTDIR);
        CHECK_EQ(unlink(way), 0);
        *strrchr(path, '/') = 0;
        CHECK_EQ(rmdir(path), 0);
        CHECK_EQ(rmdir(real), 0);
        CHECK_EQ(rmdir(dir), 0);
}

/* The folder of another user is no place for ours. */
static void foreign_folder_is_refused(void)
{
        _cleanup_free_ char *path = NULL;

        if (geteuid() != 0)
                skip("needs root to make one");
        begin();
        path = xasprintf("%s/two", dir);
        CHECK_EQ(mkdir(path, 0777), 0);
        CHECK_EQ(chown(path, 65534, 65534), 0);
        refused("two", -EPERM);
        CHECK_EQ(rmdir(path), 0);
        CHECK_EQ(rmdir(dir), 0);
}

#define CASE(f)                                                                                             \
        {                                                                                                   \
#f, f                                                                                       \
        }

TEST_MAIN(CASE(long_paths_keep_apart), CASE(links), CASE(foreign_folder_is_refused));
