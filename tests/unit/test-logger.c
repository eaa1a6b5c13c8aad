/* SPDX-License-Identifier: Apache-2.0 */

/* The logger's lines, last words and files: text cut at random against an oracle that sees it whole, and bounds that
 * hold after every single write. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/usec.h"
#include "logger/store.h"
#include "test.h"

static uint64_t seed;

static uint32_t random_below(uint32_t n)
{
        seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
        return (uint32_t) (seed >> 33) % n;
}

static void plant(void)
{
        const char *given = getenv("TRACTOR_TEST_SEED");

        seed = given ? strtoull(given, NULL, 10) : now_usec(CLOCK_REALTIME);
        fprintf(stderr, "   TRACTOR_TEST_SEED=%llu\n", (unsigned long long) seed);
}

/* --- lines --- */

typedef struct Text {
        char *data;
        size_t n, cap;
} Text;

static void text_add(Text *t, const void *p, size_t n)
{
        CHECK(GROW(t->data, t->cap, t->n + n + 1) >= 0);
        if (n > 0)
                memcpy(t->data + t->n, p, n);
        t->n += n;
        t->data[t->n] = 0;
}

static void text_add_piece(Text *t, const Piece *p)
{
        size_t n = p->n + CRI_OVERHEAD;
        char *record = malloc(n);

        CHECK(record && p->n <= CRI_PIECE_MAX);
        cri_record(record, "2026-11-22T02:03:04.123456789Z", "stdout", p);
        text_add(t, record, n);
        free(record);
}

/* Lines of lengths about all the borders there are. */
static Text random_text(void)
{
        static const size_t borders[] = { 0, 1, CRI_PIECE_MAX, 2 * CRI_PIECE_MAX, 3 * CRI_PIECE_MAX };
        Text t = { 0 };

        for (unsigned i = random_below(30); i > 0; i--) {
                size_t n = borders[random_below(ELEMENTSOF(borders))] + random_below(5);

                for (n -= MIN(n, (size_t) 2); n > 0; n--)
                        text_add(&t, &"abc\0\r\xff "[random_below(7)], 1);
                if (i > 1 || random_below(2))
                        text_add(&t, "\n", 1);
        }
        return t;
}

static Text records_of_whole(const Text *in)
{
        Text out = { 0 };

        for (size_t at = 0; at < in->n;) {
                const char *end = memchr(in->data + at, '\n', in->n - at);
                size_t n = end ? (size_t) (end - in->data) - at : in->n - at;

                for (; n > CRI_PIECE_MAX; n -= CRI_PIECE_MAX, at += CRI_PIECE_MAX)
                        text_add_piece(&out, &(Piece){ in->data + at, CRI_PIECE_MAX, false });
                text_add_piece(&out, &(Piece){ in->data + at, n, true });
                at += n + (end != NULL);
        }
        return out;
}

static Text records_of_cuts(const Text *in)
{
        Text out = { 0 };
        Line line = { 0 };
        Piece piece;

        for (size_t at = 0; at < in->n;) {
                size_t n = 1 + random_below(random_below(2) ? 20 : 20000), left;
                const char *p = in->data + at;

                left = n = MIN(n, in->n - at);
                while (line_next(&line, &p, &left, &piece))
                        text_add_piece(&out, &piece);
                CHECK_EQ(left, 0);
                at += n;
                if (line.n == 0)
                        line_done(&line);
        }
        if (line_rest(&line, &piece))
                text_add_piece(&out, &piece);
        CHECK(!line_rest(&line, &piece));
        line_done(&line);
        return out;
}

static void lines_however_cut(void)
{
        plant();
        for (int i = 0; i < 300; i++) {
                Text in = random_text(), due = records_of_whole(&in), got = records_of_cuts(&in);

                CHECK_EQ(got.n, due.n);
                CHECK(got.n == 0 || memcmp(got.data, due.data, due.n) == 0);
                free(in.data);
                free(due.data);
                free(got.data);
        }
}

static void one_record(void)
{
        char out[64] = "";

        cri_record(out, "2026-11-22T02:03:04.123456789Z", "stderr", &(Piece){ "the line", 8, true });
        CHECK_STR(out, "2026-11-22T02:03:04.123456789Z stderr F the line\n");
        CHECK_EQ(strlen(out), 8 + CRI_OVERHEAD);
        cri_record(out, "2026-11-22T02:03:04.123456789Z", "stdout", &(Piece){ "part of", 7, false });
        CHECK(strncmp(out, "2026-11-22T02:03:04.123456789Z stdout P part of\n", 48) == 0);
}

static void times(void)
{
        plant();
        for (int i = 0; i < 100000; i++) {
                int64_t sec = (int64_t) random_below(1U << 31) * (1 + random_below(100)) - 62135596800 / 2;
                long nsec = (long) random_below(1000000000);
                time_t t = (time_t) sec;
                char got[CRI_TIME_SIZE + 1] = "", due[64];
                struct tm tm;

                CHECK(gmtime_r(&t, &tm));
                if (tm.tm_year + 1900 > 9999)
                        continue;
                (void) snprintf(due, sizeof(due), "%04d-%02d-%02dT%02d:%02d:%02d.%09ldZ", tm.tm_year + 1900,
                                tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, nsec);
                cri_time(sec, nsec, got);
                CHECK_STR(got, due);
        }
}

/* --- last words --- */

static void check_tail(const Tail *t, const Text *all, unsigned lines)
{
        char got[TAIL_SIZE];
        size_t n = tail_get(t, lines, got), from = all->n;

        for (unsigned left = lines; from > 0 && all->n - from < TAIL_SIZE; from--)
                if (all->data[from - 1] == '\n' && from < all->n && --left == 0)
                        break;
        CHECK_EQ(n, all->n - from);
        for (size_t i = 0; i < n; i++)
                CHECK_EQ(got[i], all->data[from + i] ?: '?');
}

static void last_words(void)
{
        plant();
        for (int i = 0; i < 200; i++) {
                Text all = { 0 };
                Tail t = { 0 };

                check_tail(&t, &all, 20);
                for (unsigned k = random_below(40); k > 0; k--) {
                        Text in = random_text();
                        size_t n = MIN(in.n, (size_t) random_below(random_below(4) ? 200 : 30000));

                        text_add(&all, in.data, n);
                        if (n > 0)
                                tail_put(&t, in.data, n);
                        free(in.data);
                        check_tail(&t, &all, 1 + random_below(25));
                }
                tail_done(&t);
                free(all.data);
        }
}

/* --- files --- */

static char dir[64];
static Store store;

static void begin(uint64_t file_max, uint64_t total_max, uint64_t files_max)
{
        (void) strcpy(dir, "/tmp/tractor-test-XXXXXX");
        CHECK(mkdtemp(dir));
        memset(&store, 0, offsetof(Store, batch));
        store.dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        CHECK(store.dir_fd >= 0);
        store.file_max = file_max;
        store.total_max = total_max;
        store.files_max = files_max;
}

typedef struct Sum {
        uint64_t bytes, files, largest;
} Sum;

static Sum sum_up(bool remove)
{
        DIR *d = opendir(dir);
        Sum sum = { 0 };
        struct stat st;

        CHECK(d);
        for (struct dirent *e; (e = readdir(d));) {
                if (e->d_name[0] == '.')
                        continue;
                CHECK_EQ(fstatat(store.dir_fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW), 0);
                sum.files++;
                sum.bytes += (uint64_t) st.st_size;
                sum.largest = MAX(sum.largest, (uint64_t) st.st_size);
                if (remove)
                        CHECK_EQ(unlinkat(store.dir_fd, e->d_name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0),
                                        0);
        }
        (void) closedir(d);
        return sum;
}

static void end(void)
{
        CHECK_EQ(store.open.n, 0);
        map_clear(&store.open);
        (void) sum_up(true);
        safe_close(store.dir_fd);
        CHECK_EQ(rmdir(dir), 0);
}

static LogFile *get(const char *name)
{
        LogFile *f = NULL;

        CHECK_EQ(log_file_get(&store, name, &f), 0);
        return f;
}

static const char *const time_text = "2026-11-22T02:03:04.123456789Z";

static void say(LogFile *f, const char *text)
{
        store_put(f, time_text, "stdout", &(Piece){ text, strlen(text), true });
        store_flush(f, time_text);
}

static void add_content(Text *t, const char *name)
{
        _cleanup_close_ int fd = openat(store.dir_fd, name, O_RDONLY | O_CLOEXEC);
        char buf[4096];
        ssize_t k;

        while (fd >= 0 && (k = read(fd, buf, sizeof(buf))) > 0)
                text_add(t, buf, (size_t) k);
        text_add(t, "", 0);
}

static void check_content(const char *name, const char *due)
{
        Text t = { 0 };

        add_content(&t, name);
        CHECK_STR(t.data, due);
        free(t.data);
}

#define RECORD(text) "2026-11-22T02:03:04.123456789Z stdout F " text "\n"
#define LOST(text) "2026-11-22T02:03:04.123456789Z stderr F tractor: " text "\n"

static void bounds_at_every_write(void)
{
        static const char *const names[] = { "a.log", "b.log", "c.log" };
        Text all[3] = { 0 };
        LogFile *files[3];

        plant();
        begin(5000, 24000, 100);
        for (int i = 0; i < 3; i++)
                files[i] = get(names[i]);
        for (int i = 0; i < 3000; i++) {
                unsigned who = random_below(3);
                char text[1200], record[1200 + CRI_OVERHEAD];
                Sum sum;

                for (unsigned k = 1 + random_below(3); k > 0; k--) {
                        Piece p = { text, random_below(sizeof(text)), random_below(2) };

                        memset(text, 'a' + i % 26, p.n);
                        store_put(files[who], time_text, "stdout", &p);
                        cri_record(record, time_text, "stdout", &p);
                        text_add(&all[who], record, p.n + CRI_OVERHEAD);
                }
                store_flush(files[who], time_text);
                sum = sum_up(false);
                CHECK(sum.largest <= 5000);
                CHECK(sum.bytes <= 24000);
                CHECK_EQ(sum.bytes, store.total);
                CHECK_EQ(sum.files, store.files);
        }
        /* The old one goes before the total would be passed; the rest is the newest, without a gap. */
        for (int i = 0; i < 3; i++) {
                Text kept = { 0 };
                char old[16];

                (void) snprintf(old, sizeof(old), "%s.1", names[i]);
                add_content(&kept, old);
                add_content(&kept, names[i]);
                CHECK(kept.n > 0 && kept.n <= all[i].n);
                CHECK(memcmp(kept.data, all[i].data + all[i].n - kept.n, kept.n) == 0);
                free(kept.data);
                free(all[i].data);
                log_file_put(files[i]);
        }
        end();
}

static void date(const char *name, time_t sec)
{
        const struct timespec t[2] = { { sec, 0 }, { sec, 0 } };

        CHECK_EQ(utimensat(store.dir_fd, name, t, 0), 0);
}

static bool exists(const char *name)
{
        return faccessat(store.dir_fd, name, F_OK, 0) == 0;
}

static void write_file(const char *name, const char *text, size_t n)
{
        _cleanup_close_ int fd = openat(store.dir_fd, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

        CHECK(fd >= 0);
        CHECK_EQ(write_all(fd, text, n), 0);
}

static void the_oldest_goes(void)
{
        static const char big[600] = "";
        LogFile *a, *b;

        begin(1000, 2000, 100);
        write_file("old.log", big, sizeof(big));
        write_file("older.log.1", big, sizeof(big));
        write_file("notes.txt", big, sizeof(big)); /* not ours, and not counted */
        date("old.log", 2000);
        date("older.log.1", 1000);
        a = get("a.log");
        b = get("old.log"); /* lives again */
        for (int i = 0; i < 9; i++)
                say(a, "0123456789012345678901234567890123456789012345678901234567890123456789");
        CHECK(!exists("older.log.1") && exists("old.log") && exists("notes.txt"));
        log_file_put(b);
        for (int i = 0; i < 9; i++)
                say(a, "0123456789012345678901234567890123456789012345678901234567890123456789");
        CHECK(!exists("old.log") && exists("a.log") && exists("a.log.1") && exists("notes.txt"));
        log_file_put(a);
        end();

        begin(1000, 100000, 3);
        for (int i = 0; i < 9; i++) {
                char name[16];

                (void) snprintf(name, sizeof(name), "job%d.log", i);
                a = get(name);
                say(a, "done");
                date(name, 1000 + i);
                log_file_put(a);
                CHECK(sum_up(false).files <= 3);
        }
        CHECK(exists("job8.log") && exists("job7.log") && exists("job6.log"));
        end();
}

/* With nothing to remove, what is said is dropped and counted, and told of later. */
static void no_room(void)
{
        LogFile *a, *b;

        begin(1000, 150, 100);
        a = get("a.log");
        b = get("b.log");
        say(a, "0123456789012345678901234567890123456789012345678901234567890123456789");
        say(b, "this is lost");
        say(b, "and this");
        CHECK_EQ(b->lost, 13 + 9);
        CHECK_EQ(b->error, EDQUOT);
        log_file_put(a);
        store.retry_usec = 0; /* a second later */
        say(b, "kept");
        check_content("b.log", LOST("22 bytes lost: Disk quota exceeded") RECORD("kept"));
        CHECK_EQ(b->lost, 0);
        log_file_put(b);
        end();
}

static void torn_and_foreign(void)
{
        LogFile *f;

        /* What a logger that was killed, or an administrator, left. */
        begin(1000, 100000, 100);
        write_file("a.log", "2026-11-22T02:0", 15);
        f = get("a.log");
        say(f, "one");
        check_content("a.log", "2026-11-22T02:0\n" RECORD("one"));
        CHECK_EQ(unlinkat(store.dir_fd, "a.log", 0), 0);
        say(f, "two");
        check_content("a.log", RECORD("two"));
        log_file_put(f);

        CHECK_EQ(symlinkat("b-target", store.dir_fd, "b.log"), 0);
        f = get("b.log");
        say(f, "text");
        CHECK_EQ(f->error, ELOOP);
        CHECK(!exists("b-target"));
        CHECK_EQ(unlinkat(store.dir_fd, "b.log", 0), 0);
        CHECK_EQ(linkat(store.dir_fd, "a.log", store.dir_fd, "b.log", 0), 0);
        say(f, "text");
        CHECK_EQ(f->error, EEXIST);
        CHECK_EQ(unlinkat(store.dir_fd, "b.log", 0), 0);
        CHECK_EQ(mkfifoat(store.dir_fd, "b.log", 0600), 0);
        say(f, "text");
        CHECK_EQ(f->error, EEXIST);
        CHECK_EQ(unlinkat(store.dir_fd, "b.log", 0), 0);
        say(f, "there");
        check_content("b.log", LOST("15 bytes lost: File exists") RECORD("there"));
        log_file_put(f);

        CHECK_EQ(log_file_get(&store, "../a.log", &f), -EINVAL);
        CHECK_EQ(log_file_get(&store, ".log", &f), -EINVAL);
        CHECK_EQ(log_file_get(&store, "a.log.1", &f), -EINVAL);
        end();
}

/* A folder under ".1" can't be renamed over: nothing more is kept, and nothing waits. */
static void no_rename(void)
{
        LogFile *f;

        begin(100, 100000, 100);
        CHECK_EQ(mkdirat(store.dir_fd, "a.log.1", 0700), 0);
        f = get("a.log");
        say(f, "0123456789012345678901234567890123456789");
        say(f, "0123456789");
        CHECK_EQ(f->error, EISDIR);
        CHECK_EQ(f->lost, 11);
        CHECK_EQ(unlinkat(store.dir_fd, "a.log.1", AT_REMOVEDIR), 0);
        say(f, "x");
        check_content("a.log.1", RECORD("0123456789012345678901234567890123456789"));
        /* The notice and the record pass the bound together, which is a test's alone. */
        CHECK_EQ(f->error, EFBIG);
        store.file_max = 1000;
        say(f, "y");
        check_content("a.log", LOST("13 bytes lost: File too large") RECORD("y"));
        log_file_put(f);
        end();
}

#define CASE(f)                                                                                             \
        {                                                                                                   \
#f, f                                                                                       \
        }

TEST_MAIN(CASE(lines_however_cut), CASE(one_record), CASE(times), CASE(last_words),
                CASE(bounds_at_every_write), CASE(the_oldest_goes), CASE(no_room), CASE(torn_and_foreign),
                CASE(no_rename));
