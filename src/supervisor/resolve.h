/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Names of users and groups → numbers. NSS may ask the network and has no way to be asked without waiting, so names are
 * looked up by a short-lived process of our own (helper.h) within 10 s; numbers need none: who asks tries
 * resolve_numbers() first.
 *
 * With a user the primary group is that of the user database unless `group` is given; a user given by number is not
 * looked up, and its group is then the one of the same number. The supplementary groups are those of the user
 * database (for a user given by name) and `groups` beside. */

#include <errno.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "base/macro.h"

#define RESOLVE_GROUPS_MAX 256
#define RESOLVE_TIMEOUT_USEC ((uint64_t) 10 * 1000 * 1000)

typedef struct Resolved {
        bool has_uid, has_gid;
        uid_t uid;
        gid_t gid;
        gid_t gids[RESOLVE_GROUPS_MAX];
        size_t n_gids;
} Resolved;

/* What is wrong with one of the names that were asked about: "no user is called shop". */
typedef struct Unresolved {
        size_t which; /* RESOLVE_USER, RESOLVE_GROUP, or RESOLVE_GROUPS and the index in `groups` */
        char *why;
} Unresolved;
enum {
        RESOLVE_USER,
        RESOLVE_GROUP,
        RESOLVE_GROUPS,
};

typedef struct Resolve Resolve;
/* r: 0 with what was found; -ENOENT … with each name there is something against, -ETIMEDOUT or another failure of the
 * look-up itself as one about the first name. -ENOMEM without any. Both are borrowed. */
typedef void (*resolve_handler_t)(
                int r, const Resolved *resolved, const Unresolved *problems, size_t n, void *userdata);

/* Without any name: the answer at once, 0. -EAGAIN when a name is among them, -EINVAL for a number out of range,
 * -E2BIG past RESOLVE_GROUPS_MAX. Each of user, group and groups may be NULL. */
int resolve_numbers(const char *user, const char *group, char *const *groups, Resolved *ret);

/* Calls back once, from the loop, unless freed before; *ret is the caller's to free then, too. */
int resolve_user(sd_event *event, const char *user, const char *group, char *const *groups,
                resolve_handler_t handler, void *userdata, Resolve **ret);
Resolve *resolve_free(Resolve *r);
DEFINE_CLEANUP(Resolve *, resolve_free);

/* Has the database itself failed, so that another question is not worth its wait? */
static inline bool resolve_is_broken(int r)
{
        return r == -ETIMEDOUT || r == -EPROTO;
}

/* The helper process: `--resolve USER GROUP GROUPS…`, "" for none. */
int resolve_main(int argc, char **argv);
