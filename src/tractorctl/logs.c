/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "tractorctl/log-file.h"
#include "tractorctl/logs.h"
#include "tractorctl/remote.h"

/* `logs`: the supervisor says where an actor's output is. The journal is journalctl's to read, which takes our place with
 * the right matches; files are read here. On another machine, all of that is done there. */

#define FOLLOW_LINES 10
/* More than the files of one actor can hold. */
#define LINES_MAX 1000000
#define NUMBER_MAX 24

/* --- the journal --- */

/* The actor's slice holds the scopes of all its generations. */
static char *slice_of(const Json *node)
{
        const char *cgroup = json_get_string(node, "cgroup", ""), *end = NULL, *start;

        for (const char *s = cgroup; (s = strstr(s, ".slice")); s++)
                if (s[6] == '/' || s[6] == 0)
                        end = s + 6;
        if (!end)
                return NULL;
        for (start = end; start > cgroup && start[-1] != '/';)
                start--;
        return strndup(start, (size_t) (end - start));
}

static int add_match(char ***argv, const char *format, const char *value, bool another)
{
        _cleanup_free_ char *match = xasprintf(format, value);
        int r = another ? strv_append(argv, "+") : 0;

        return r < 0 ? r : match ? strv_append(argv, match) : -ENOMEM;
}

static int add_options(const Options *o, char ***argv)
{
        char number[NUMBER_MAX];
        int r = 0;

        if (o->follow)
                r = strv_append(argv, "-f");
        if (r >= 0 && o->number >= 0) {
                (void) snprintf(number, sizeof(number), "-n%lld", (long long) o->number);
                r = strv_append(argv, number);
        }
        if (r >= 0 && o->quiet)
                r = strv_append(argv, "-q");
        return r;
}

static int add_matches(const Json *node, char ***argv)
{
        const char *path = json_get_string(node, "path", "?");
        _cleanup_free_ char *slice = json_has(node, "unit") ? slice_of(node) : NULL;
        int r = add_match(argv, "TRACTOR_PATH=%s", path, false);

        if (r < 0)
                return r;
        if (slice) {
                r = add_match(argv, "_SYSTEMD_SLICE=%s", slice, true);
                return r < 0 ? r : add_match(argv, "_SYSTEMD_USER_SLICE=%s", slice, true);
        }
        /* Without units of its own it is known by its name alone. */
        r = add_match(argv, "SYSLOG_IDENTIFIER=%s", strrchr(path, '/') + 1, true);
        return r < 0 ? r : strv_append(argv, "_TRANSPORT=stdout");
}

static int exec_journalctl(const Context *c, const Json *node)
{
        static const char *const outputs[] = {
                [JSON_MODE_SHORT] = "-ojson", [JSON_MODE_PRETTY] = "-ojson-pretty"
        };
        _cleanup_(strv_freep) char **argv = NULL;
        int r = strv_append(&argv, "journalctl");

        if (r >= 0)
                r = add_options(c->o, &argv);
        if (r >= 0 && c->o->json != JSON_MODE_OFF)
                r = strv_append(&argv, outputs[c->o->json]);
        if (r >= 0)
                r = add_matches(node, &argv);
        if (r < 0)
                return fail_errno(c, r);
        execvp(argv[0], argv);
        return fail(c, CTL_FAILED, "can't start journalctl, which reads the journal: %s; check PATH",
                        strerror(errno));
}

/* --- files --- */

typedef struct Shown {
        Context *c;
        int (*put)(FILE *f, const Context *c, const LogLine *line);
        size_t max;   /* lines kept until all that is there has been seen; SIZE_MAX: none is */
        char **lines; /* a ring of that size */
        size_t n;
        bool caught_up;
        int error;
} Shown;

/* In this machine's time, as precise as people want it. */
static void put_time(FILE *f, const char *time)
{
        struct tm tm = { 0 };
        char text[32];
        time_t t;

        if (!time || !strptime(time, "%Y-%m-%dT%H:%M:%S", &tm))
                return;
        t = timegm(&tm);
        if (localtime_r(&t, &tm) && strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm) > 0)
                fprintf(f, "%s.%.3s ", text, time + strlen("yyyy-mm-ddThh:mm:ss."));
}

static void put_for_terminal(FILE *f, const Style *style, const LogLine *line)
{
        _cleanup_free_ char *text = strndup(line->text, line->n), *clean = text_clean(text);

        if (style->color)
                fputs("\033[2m", f);
        put_time(f, line->time);
        fputs(style->color ? (line->err ? "\033[0;33m" : "\033[0m") : "", f);
        fputs(strna(clean), f);
        fputs(style->color ? "\033[0m" : "", f);
}

static int put_json(FILE *f, const Context *c, const LogLine *line)
{
        _cleanup_json_ Json *v = NULL;
        _cleanup_free_ char *time = line->time ? strndup(line->time, 30) : NULL, *pretty = NULL;
        int r = json_pack(&v, "{time:s?, stream:s?, text:o}", time,
                        line->time ? (line->err ? "stderr" : "stdout") : NULL,
                        json_new_string(line->text, line->n));

        if (r < 0)
                return r;
        if (c->o->json == JSON_MODE_PRETTY)
                pretty = json_print_pretty(v);
        fputs(pretty ?: strna(json_print(v, NULL)), f);
        return 0;
}

/* For a pipe, whatever bytes the text is of. */
static void put_plain(FILE *f, const LogLine *line)
{
        if (line->time)
                fprintf(f, "%.30s\t%s\t", line->time, line->err ? "stderr" : "stdout");
        else
                fputs("-\t-\t", f);
        (void) fwrite(line->text, 1, line->n, f);
}

static int put_line(FILE *f, const Context *c, const LogLine *line)
{
        int r = 0;

        if (c->o->json != JSON_MODE_OFF)
                r = put_json(f, c, line);
        else if (c->style.terminal)
                put_for_terminal(f, &c->style, line);
        else
                put_plain(f, line);
        fputc('\n', f);
        return r;
}

/* Beside other things, which are cleaned before they are shown. */
static int put_briefly(FILE *f, const Context *c, const LogLine *line)
{
        put_time(f, line->time);
        (void) fwrite(line->text, 1, line->n, f);
        return 0;
}

/* Keeps the last ones; NULs in it end it, which is no loss to text. */
static int keep_line(Shown *s, const LogLine *line)
{
        char *text = NULL;
        size_t n = 0;
        FILE *f;
        int r;

        if (s->max == 0)
                return 0;
        f = open_memstream(&text, &n);
        if (!f)
                return -ENOMEM;
        r = s->put(f, s->c, line);
        if (fclose(f) != 0)
                r = -ENOMEM;
        if (r < 0) {
                free(text);
                return r;
        }
        free(s->lines[s->n % s->max]);
        s->lines[s->n++ % s->max] = text;
        return 0;
}

static void on_line(const LogLine *line, void *userdata)
{
        Shown *s = userdata;
        int r;

        if (s->caught_up || s->max == SIZE_MAX) {
                r = s->put(stdout, s->c, line);
                if (s->caught_up)
                        (void) fflush(stdout);
        } else
                r = keep_line(s, line);
        s->error = s->error ?: r;
}

/* The first that is still kept. */
static size_t oldest(const Shown *s)
{
        return s->max != SIZE_MAX && s->n > s->max ? s->n - s->max : 0;
}

static void on_caught_up(void *userdata)
{
        Shown *s = userdata;

        s->caught_up = true;
        for (size_t i = oldest(s); s->lines && i < s->n; i++)
                fputs(s->lines[i % s->max], stdout);
        (void) fflush(stdout);
}

static int fail_file(const Context *c, const char *path, int r)
{
        if (r == -EACCES || r == -EPERM)
                return fail(c, CTL_DENIED,
                                "%s: %s: only root and the user the supervisor runs as may read it; try it "
                                "as "
                                "one of them",
                                path, strerror(-r));
        return fail(c, CTL_FAILED, "can't read %s: %s; see 'tractorctl status %s'", path, strerror(-r),
                        c->o->args[0]);
}

static size_t lines_shown(const Options *o)
{
        if (o->number >= 0)
                return o->number > LINES_MAX ? SIZE_MAX : (size_t) o->number;
        return o->follow ? FOLLOW_LINES : SIZE_MAX;
}

static int read_file(Shown *s, const char *path, bool follow, void (*caught_up)(void *userdata))
{
        LogReader reader = { .on_line = on_line, .userdata = s };
        int r = 0;

        if (s->max != SIZE_MAX && s->max > 0) {
                s->lines = calloc(s->max, sizeof(char *));
                r = s->lines ? 0 : -ENOMEM;
        }
        if (r >= 0)
                r = log_file_read(path, follow, &reader, caught_up);
        log_reader_done(&reader);
        return r;
}

static void shown_done(Shown *s)
{
        for (size_t i = 0; s->lines && i < s->max; i++)
                free(s->lines[i]);
        free(s->lines);
}

static int show_file(Context *c, const char *path)
{
        _cleanup_(shown_done) Shown s = { .c = c, .put = put_line, .max = lines_shown(c->o) };
        int r = read_file(&s, path, c->o->follow, on_caught_up);

        if (s.error < 0)
                return fail_errno(c, s.error);
        return r < 0 ? fail_file(c, path, r) : CTL_DONE;
}

/* --- the last lines, beside other things --- */

static void on_all_read(void *userdata)
{
        /* they are looked at afterwards */
}

static int tail_of_file(Context *c, const char *path, size_t n, char ***ret)
{
        _cleanup_(shown_done) Shown s = { .c = c, .put = put_briefly, .max = n };
        int r = read_file(&s, path, false, on_all_read);

        r = r < 0 ? r : s.error;
        for (size_t i = oldest(&s); r >= 0 && i < s.n; i++)
                r = strv_append(ret, s.lines[i % s.max]);
        return r;
}

static int start_journalctl(char *const *argv, pid_t *ret_pid, FILE **ret)
{
        int fds[2];

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        *ret = fdopen(fds[0], "re");
        *ret_pid = *ret ? fork() : -1;
        if (*ret_pid == 0) {
                int null = open("/dev/null", O_RDWR | O_CLOEXEC);

                if (null >= 0 && dup2(null, STDIN_FILENO) >= 0 && dup2(fds[1], STDOUT_FILENO) >= 0 &&
                                dup2(null, STDERR_FILENO) >= 0)
                        execvp(argv[0], argv);
                _exit(EXIT_FAILURE);
        }
        close(fds[1]);
        if (*ret_pid > 0)
                return 0;
        if (*ret)
                (void) fclose(*ret);
        else
                close(fds[0]);
        return -EAGAIN;
}

static int tail_of_journal(const Json *node, size_t n, char ***ret)
{
        static const char *const options[] = { "journalctl", "-q", "--no-pager", "--no-hostname",
                "-oshort" };
        _cleanup_(strv_freep) char **argv = NULL;
        _cleanup_free_ char *line = NULL, *number = xasprintf("-n%zu", n);
        int r = number ? 0 : -ENOMEM;
        size_t size = 0;
        FILE *f = NULL;
        pid_t pid = 0;

        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(options); i++)
                r = strv_append(&argv, options[i]);
        if (r >= 0)
                r = strv_append(&argv, number);
        if (r >= 0)
                r = add_matches(node, &argv);
        if (r >= 0)
                r = start_journalctl(argv, &pid, &f);
        if (r < 0)
                return r;
        while (r >= 0 && strv_length(*ret) < n && getline(&line, &size, f) > 0) {
                line[strcspn(line, "\n")] = 0;
                r = strv_append(ret, line);
        }
        (void) fclose(f);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
                ;
        return r;
}

int logs_tail(Context *c, const Json *node, size_t n, char ***ret)
{
        const char *output = json_get_string(node, "output", NULL);
        _cleanup_(strv_freep) char **lines = NULL;
        int r;

        if (!output || c->o->host)
                return 0;
        r = streq(output, "journal") ? tail_of_journal(node, n, &lines) : tail_of_file(c, output, n, &lines);
        if (r == -ENOMEM)
                return r;
        *ret = TAKE_PTR(lines);
        return 0;
}

/* --- */

static int there(Context *c)
{
        _cleanup_(strv_freep) char **words = NULL;
        int r = strv_append(&words, "logs");

        if (r >= 0)
                r = add_options(c->o, &words);
        if (r >= 0 && c->o->json != JSON_MODE_OFF)
                r = strv_append(&words, c->o->json == JSON_MODE_SHORT ? "--json=short" : "--json=pretty");
        if (r >= 0)
                r = strv_append(&words, "--");
        if (r >= 0)
                r = strv_append(&words, c->o->args[0]);
        return r < 0 ? fail_errno(c, r) : remote_exec(c, words);
}

static int ask(Context *c, Json **ret)
{
        _cleanup_json_ Json *fields = NULL, *error = NULL;
        int r = context_connect(c);

        if (r != 0)
                return r;
        r = json_pack(&fields, "[s,s,s,s,s]", "path", "kind", "unit", "cgroup", "output");
        if (r >= 0)
                r = client_get_fields(c->client, c->o->args[0], 0, fields, ret, &error);
        if (r < 0)
                return fail_errno(c, r);
        return error ? fail_error(c, c->o->args[0], error) : 0;
}

int verb_logs(Context *c)
{
        const char *path = c->o->args[0], *output;
        _cleanup_json_ Json *node = NULL;
        int r;

        if (c->o->host)
                return there(c);
        r = ask(c, &node);
        if (r != 0)
                return r;
        c->client = client_free(c->client);
        output = json_get_string(node, "output", NULL);
        if (!streq(json_get_string(node, "kind", ""), "actor"))
                return fail(c, CTL_FAILED, "%s is a supervisor: it writes nothing; see 'tractorctl tree %s'",
                                path, path);
        if (!output)
                return fail(c, CTL_FAILED,
                                "%s: its output is not kept: its tree sends it elsewhere; see stdout and "
                                "stderr there",
                                path);
        return streq(output, "journal") ? exec_journalctl(c, node) : show_file(c, output);
}
