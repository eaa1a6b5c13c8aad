/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Stands in for libFuzzer's main: runs every file of the folders and every file named on the command line once, so
 * that what a fuzzer has found stays found. Files are read into memory of exactly their size. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run_file(const char *path)
{
        FILE *f = fopen(path, "re");
        uint8_t *data = NULL;
        size_t n = 0, size = 0;
        int c;

        if (!f) {
                fprintf(stderr, "%s: %s\n", path, strerror(errno));
                return -1;
        }
        while ((c = fgetc(f)) != EOF) {
                if (n == size) {
                        uint8_t *p = realloc(data, size = size * 2 + 64);

                        if (!p)
                                abort();
                        data = p;
                }
                data[n++] = (uint8_t) c;
        }
        fclose(f);
        if (n < size) {
                uint8_t *p = realloc(data, n ? n : 1);

                if (!p)
                        abort();
                data = p;
        }
        fprintf(stderr, "%s: %zu bytes\n", path, n);
        LLVMFuzzerTestOneInput(data ? data : (const uint8_t *) "", n);
        free(data);
        return 1;
}

static int run_folder(const char *path, DIR *folder)
{
        struct dirent *entry;
        int n = 0;

        while ((entry = readdir(folder))) {
                char file[PATH_MAX];

                if (entry->d_name[0] == '.')
                        continue;
                if ((size_t) snprintf(file, sizeof(file), "%s/%s", path, entry->d_name) >= sizeof(file))
                        return -1;
                if (run_file(file) < 0)
                        return -1;
                n++;
        }
        return n;
}

int main(int argc, char **argv)
{
        int n = 0;

        for (int i = 1; i < argc; i++) {
                DIR *folder = opendir(argv[i]);
                int r = folder ? run_folder(argv[i], folder) : run_file(argv[i]);

                if (folder)
                        closedir(folder);
                if (r < 0)
                        return 1;
                n += r;
        }
        fprintf(stderr, "%d inputs\n", n);
        return n > 0 ? 0 : 1;
}
