/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <unistd.h>

#include "base/usec.h"
#include "supervisor/helper.h"
#include "supervisor/resolve.h"

#define NAME_MAX_LENGTH 256
/* A sentence about each name. */
#define ANSWER_MAX ((2 + RESOLVE_GROUPS_MAX) * (NAME_MAX_LENGTH + 128U))

struct Resolve {
        Resolved resolved;
        Unresolved problems[2 + RESOLVE_GROUPS_MAX];
        size_t n_problems, first; /* first: of the names that were given */
        Helper *helper;
        resolve_handler_t handler;
        void *userdata;
};

/* 0; -EAGAIN: not a number; -EINVAL: none that can be an id (the greatest means "leave as it is" to the kernel). */
static int parse_id(const char *s, uint32_t *ret)
{
        unsigned long long v;

        if (s[0] == 0 || s[strspn(s, "0123456789")] != 0)
                return -EAGAIN;
        errno = 0;
        v = strtoull(s, NULL, 10);
        if (errno != 0 || v >= UINT32_MAX)
                return -EINVAL;
        *ret = (uint32_t) v;
        return 0;
}

static int add_gid(Resolved *r, gid_t gid)
{
        for (size_t i = 0; i < r->n_gids; i++)
                if (r->gids[i] == gid)
                        return 0;
        if (r->n_gids >= RESOLVE_GROUPS_MAX)
                return -E2BIG;
        r->gids[r->n_gids++] = gid;
        return 0;
}

int resolve_numbers(const char *user, const char *group, char *const *groups, Resolved *ret)
{
        Resolved found = { .has_uid = user, .has_gid = user || group };
        int r = 0;

        if (user) {
                r = parse_id(user, &found.uid);
                found.gid = found.uid;
        }
        if (r >= 0 && group)
                r = parse_id(group, &found.gid);
        for (size_t i = 0; r >= 0 && groups && groups[i]; i++) {
                gid_t gid = 0;

                r = parse_id(groups[i], &gid);
                if (r >= 0)
                        r = add_gid(&found, gid);
        }
        if (r < 0)
                return r;
        *ret = found;
        return 0;
}

static int add_problem(Resolve *resolve, size_t which, const char *why, size_t n)
{
        Unresolved *u = &resolve->problems[resolve->n_problems];

        if (which >= ELEMENTSOF(resolve->problems) || resolve->n_problems >= ELEMENTSOF(resolve->problems))
                return -EPROTO;
        *u = (Unresolved){ .which = which, .why = strndup(why, n) };
        if (!u->why)
                return -ENOMEM;
        resolve->n_problems++;
        return 0;
}

/* The errno of the first. What does not begin with '!' is the rest of a name with a newline in it. */
static int parse_problems(Resolve *resolve, const char *text)
{
        int first = 0, r = 0;

        for (; *text && r >= 0; text += strcspn(text, "\n"), text += *text == '\n') {
                unsigned long which;
                char *p;
                int error;

                if (*text != '!')
                        continue;
                error = (int) strtol(text + 1, &p, 10);
                which = strtoul(p, &p, 10);
                first = first ?: error;
                p += *p == ' ';
                r = error > 0 ? add_problem(resolve, which, p, strcspn(p, "\n")) : -EPROTO;
        }
        return r < 0 ? r : -first;
}

/* "UID GID GID…\n", "-" for what is not to be set, or a line "!ERRNO WHICH SENTENCE\n" for each name at fault. */
static int parse_answer(const char *text, Resolved *ret)
{
        Resolved found = { 0 };
        char *p;

        for (size_t i = 0; *text && *text != '\n'; i++) {
                bool given = *text != '-';
                unsigned long v = given ? strtoul(text, &p, 10) : 0;
                int r = 0;

                if (given && p == text)
                        return -EPROTO;
                text = given ? p : text + 1;
                text += *text == ' ';
                if (i == 0) {
                        found.has_uid = given;
                        found.uid = (uid_t) v;
                } else if (i == 1) {
                        found.has_gid = given;
                        found.gid = (gid_t) v;
                } else {
                        r = add_gid(&found, (gid_t) v);
                }
                if (r < 0)
                        return r;
        }
        *ret = found;
        return 0;
}

static void on_answer(int r, const char *text, size_t n, void *userdata)
{
        Resolve *resolve = userdata;
        const char *why;

        if (r >= 0 && (n == 0 || text[n - 1] != '\n'))
                r = -EPROTO;
        if (r >= 0)
                r = text[0] == '!' ? parse_problems(resolve, text) : parse_answer(text, &resolve->resolved);
        if (r < 0 && r != -ENOMEM && resolve->n_problems == 0) {
                why = r == -ETIMEDOUT ? "the user database did not answer within 10 s"
                                      : "the look-up in the user database failed";
                if (add_problem(resolve, resolve->first, why, strlen(why)) < 0)
                        r = -ENOMEM;
        }
        resolve->handler(r, r < 0 ? NULL : &resolve->resolved, resolve->problems, resolve->n_problems,
                        resolve->userdata);
}

static int start_helper(
                Resolve *resolve, sd_event *event, const char *user, const char *group, char *const *groups)
{
        _cleanup_(strv_freep) char **args = NULL;
        const char *const first[] = { "--resolve", user ?: "", group ?: "" };
        int r;

        for (size_t i = 0; i < ELEMENTSOF(first); i++) {
                if (strlen(first[i]) > NAME_MAX_LENGTH)
                        return -ENAMETOOLONG;
                r = strv_append(&args, first[i]);
                if (r < 0)
                        return r;
        }
        if (strv_length(groups) > RESOLVE_GROUPS_MAX)
                return -E2BIG;
        for (size_t i = 0; groups && groups[i]; i++) {
                if (strlen(groups[i]) > NAME_MAX_LENGTH)
                        return -ENAMETOOLONG;
                r = strv_append(&args, groups[i]);
                if (r < 0)
                        return r;
        }
        return helper_run(
                        event, args, ANSWER_MAX, RESOLVE_TIMEOUT_USEC, on_answer, resolve, &resolve->helper);
}

int resolve_user(sd_event *event, const char *user, const char *group, char *const *groups,
                resolve_handler_t handler, void *userdata, Resolve **ret)
{
        _cleanup_(resolve_freep) Resolve *resolve = calloc(1, sizeof(Resolve));
        int r;

        if (!resolve)
                return -ENOMEM;
        resolve->handler = handler;
        resolve->userdata = userdata;
        resolve->first = user ? RESOLVE_USER : group ? RESOLVE_GROUP : RESOLVE_GROUPS;
        r = start_helper(resolve, event, user, group, groups);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(resolve);
        return 0;
}

Resolve *resolve_free(Resolve *r)
{
        if (!r)
                return NULL;
        r->helper = helper_free(r->helper);
        for (size_t i = 0; i < r->n_problems; i++)
                free(r->problems[i].why);
        free(r);
        return NULL;
}

/* --- in the helper process --- */

static int refuse(size_t which, int error, const char *kind, const char *name)
{
        if (error == 0 || error == ENOENT || error == ESRCH)
                (void) printf("!%d %zu no %s is called %s\n", ENOENT, which, kind, name);
        else
                (void) printf("!%d %zu looking up %s %s: %s\n", error, which, kind, name, strerror(error));
        return -1;
}

static int refuse_many(size_t which)
{
        (void) printf("!%d %zu makes more than %d groups\n", E2BIG, which, RESOLVE_GROUPS_MAX);
        return -1;
}

static int look_up_user(const char *name, Resolved *r)
{
        gid_t gids[RESOLVE_GROUPS_MAX];
        int n = RESOLVE_GROUPS_MAX, k = parse_id(name, &r->uid);
        struct passwd *pw;

        r->gid = r->uid;
        if (k == -EINVAL)
                return refuse(RESOLVE_USER, EINVAL, "user", name);
        if (k >= 0)
                return 0;
        errno = 0;
        pw = getpwnam(name);
        if (!pw)
                return refuse(RESOLVE_USER, errno, "user", name);
        r->uid = pw->pw_uid;
        r->gid = pw->pw_gid;
        if (getgrouplist(name, pw->pw_gid, gids, &n) < 0)
                return refuse_many(RESOLVE_USER);
        for (int i = 0; i < n; i++)
                (void) add_gid(r, gids[i]);
        return 0;
}

static int look_up_group(size_t which, const char *name, gid_t *ret)
{
        struct group *gr;
        int r = parse_id(name, ret);

        if (r == -EINVAL)
                return refuse(which, EINVAL, "group", name);
        if (r >= 0)
                return 0;
        errno = 0;
        gr = getgrnam(name);
        if (!gr)
                return refuse(which, errno, "group", name);
        *ret = gr->gr_gid;
        return 0;
}

/* All of them, so that all that is wrong is told. */
static int look_up(int argc, char **argv, Resolved *r)
{
        const char *user = argv[2], *group = argv[3];
        int result = 0;

        r->has_uid = user[0];
        r->has_gid = user[0] || group[0];
        if (user[0] && look_up_user(user, r) < 0)
                result = -1;
        if (group[0] && look_up_group(RESOLVE_GROUP, group, &r->gid) < 0)
                result = -1;
        for (int i = 4; i < argc; i++) {
                size_t which = RESOLVE_GROUPS + (size_t) (i - 4);
                gid_t gid = 0;

                if (look_up_group(which, argv[i], &gid) < 0)
                        result = -1;
                else if (add_gid(r, gid) < 0)
                        return refuse_many(which);
        }
        return result;
}

static void print_id(bool given, unsigned id)
{
        if (given)
                (void) printf("%u", id);
        else
                (void) printf("-");
}

/* A sentence is an answer, too: the exit code is 0 either way. */
int resolve_main(int argc, char **argv)
{
        Resolved r = { 0 };

        if (argc < 4)
                return EXIT_FAILURE;
        helper_begin("tractor-resolve", 15);
        if (look_up(argc, argv, &r) >= 0) {
                print_id(r.has_uid, r.uid);
                (void) printf(" ");
                print_id(r.has_gid, r.gid);
                for (size_t i = 0; i < r.n_gids; i++)
                        (void) printf(" %u", (unsigned) r.gids[i]);
                (void) printf("\n");
        }
        return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
