/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/resource.h>
#include <unistd.h>

#include "supervisor/config-parse.h"
#include "supervisor/confine.h"

#define GROUPS_MAX 256U /* what a child can be given */

typedef struct Confine {
        Parse parse;
        const Peer *peer;
} Confine;

bool peer_is_confined(const Peer *peer)
{
        return peer->kind == PEER_ACTOR || (peer->uid != 0 && peer->uid != geteuid());
}

static int refuse(Confine *c, const Where *w, const char *key, const char *why)
{
        Where at = { .up = w, .key = key };

        return problem(&c->parse, &at, "%s", why);
}

static bool is_own_number(const char *s, uint32_t id)
{
        return s[strspn(s, "0123456789")] == 0 && strtoull(s, NULL, 10) == id;
}

static int check_identity(Confine *c, const Where *w, const TreeSpec *t)
{
        int r = 0;

        if (t->user && !is_own_number(t->user, c->peer->uid))
                r = refuse(c, w, "user", "must be your own user's number, or left out");
        if (r >= 0 && t->group &&
                        (t->group[strspn(t->group, "0123456789")] != 0 ||
                                        !peer_has_group(c->peer, (gid_t) strtoull(t->group, NULL, 10))))
                r = refuse(c, w, "group", "must be the number of a group of yours, or left out");
        for (size_t i = 0; r >= 0 && t->groups && t->groups[i]; i++)
                if (t->groups[i][strspn(t->groups[i], "0123456789")] != 0 ||
                                !peer_has_group(c->peer, (gid_t) strtoull(t->groups[i], NULL, 10)))
                        return refuse(c, w, "supplementary_groups", "must be numbers of groups of yours");
        return r;
}

/* The group and groups that were asked for are among the peer's; without any, all of the peer's. */
static int take_identity(Confine *c, TreeSpec *t)
{
        const Peer *peer = c->peer;
        /* A user by number sets has_groups, too: then none means those of the peer. */
        const bool given = t->has_groups && (t->groups || !t->user);
        size_t n = given ? t->n_gids : peer->n_groups;
        gid_t *gids;

        if (given && !t->resolved)
                return -EINVAL; /* numbers alone got here, and those are resolved where they are read */
        if (n > GROUPS_MAX)
                return -E2BIG;
        gids = calloc(n + 1, sizeof(gid_t));
        if (!gids)
                return -ENOMEM;
        if (n > 0)
                memcpy(gids, given ? t->gids : peer->groups, n * sizeof(gid_t));
        free(t->gids);
        t->gids = gids;
        t->n_gids = n;
        if (!t->group)
                t->gid = peer->gid;
        t->uid = peer->uid;
        t->resolved = t->has_groups = true;
        if (t->user)
                return 0;
        t->user = xasprintf("%u", (unsigned) peer->uid);
        return t->user ? 0 : -ENOMEM;
}

/* What the supervisor does itself, as itself, before the program runs or beside it. */
static int check_deputy(Confine *c, const Where *w, const TreeSpec *t)
{
        const Output *outputs[] = { &t->out, &t->err };
        static const char *const names[] = { "stdout", "stderr" };
        int r = 0;

        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(outputs); i++) {
                if (outputs[i]->kind == OUTPUT_FILE)
                        r = refuse(c, w, names[i], "a file would be opened with the supervisor's rights");
                else if (outputs[i]->kind == OUTPUT_INHERIT)
                        r = refuse(c, w, names[i], "the supervisor's own output is not yours to write to");
        }
        if (r >= 0 && (t->ready == READY_SOCKET || t->ready == READY_FILE))
                r = refuse(c, w, "ready",
                                "a path would be looked at with the supervisor's rights; use a command");
        return r;
}

/* Hard limits are raised by the supervisor's right to do so. */
static int check_rlimits(Confine *c, const Where *w, const TreeSpec *t)
{
        const TreeSpec *own = c->peer->spec;

        for (unsigned i = 0; i < RLIM_NLIMITS; i++) {
                struct rlimit ours = { 0 };

                if (!(t->rlimit_mask & (1U << i)))
                        continue;
                if (own && (own->rlimit_mask & (1U << i)))
                        ours = own->rlimits[i];
                else if (getrlimit((int) i, &ours) < 0)
                        return -errno;
                if (t->rlimits[i].rlim_max > ours.rlim_max)
                        return refuse(c, w, "rlimits", "a hard limit must not be above your own");
        }
        return 0;
}

/* A client has no capabilities to pass on; an actor those that its tree gave it, or its user's own. */
static uint64_t own_caps(const Peer *peer)
{
        if (peer->kind != PEER_ACTOR)
                return 0;
        if (peer->spec->has_caps)
                return peer->spec->caps;
        return peer->uid == geteuid() ? UINT64_MAX : 0;
}

static int check_privileges(Confine *c, const Where *w, const TreeSpec *t)
{
        const TreeSpec *own = c->peer->spec;
        int r = 0;

        if (t->has_caps && (t->caps & ~own_caps(c->peer)))
                r = refuse(c, w, "capabilities", "must be none but your own");
        if (r >= 0 && !t->no_new_privs)
                r = refuse(c, w, "no_new_privs", "must stay true");
        if (r >= 0 && own && own->seccomp && t->seccomp && !streq(own->seccomp, t->seccomp))
                r = refuse(c, w, "seccomp", "must be your own profile, or left out");
        if (r >= 0 && t->has_nice && t->nice < (own && own->has_nice ? own->nice : 0))
                r = refuse(c, w, "nice", "must not be below your own");
        if (r >= 0 && t->has_oom_score_adj &&
                        t->oom_score_adj < (own && own->has_oom_score_adj ? own->oom_score_adj : 0))
                r = refuse(c, w, "oom_score_adj", "must not be below your own");
        return r < 0 ? r : check_rlimits(c, w, t);
}

/* What it does not say is what the peer has. The environment of the supervisor is no client's to read. */
static int take_privileges(Confine *c, TreeSpec *t)
{
        const TreeSpec *own = c->peer->spec;

        t->env_clear |= !own || own->env_clear;
        if (!own)
                return 0;
        if (own->has_caps && !t->has_caps) {
                t->has_caps = true;
                t->caps = own->caps;
        }
        if (own->has_nice && !t->has_nice) {
                t->has_nice = true;
                t->nice = own->nice;
        }
        if (own->has_oom_score_adj && !t->has_oom_score_adj) {
                t->has_oom_score_adj = true;
                t->oom_score_adj = own->oom_score_adj;
        }
        for (unsigned i = 0; i < RLIM_NLIMITS; i++)
                if ((own->rlimit_mask & ~t->rlimit_mask) & (1U << i)) {
                        t->rlimit_mask |= 1U << i;
                        t->rlimits[i] = own->rlimits[i];
                }
        return own->seccomp && !t->seccomp ? free_and_strdup(&t->seccomp, own->seccomp) : 0;
}

static int confine_actor(Confine *c, const Where *w, TreeSpec *t)
{
        const TreeSpec *own = c->peer->spec;
        /* As the supervisor's own user there is nothing to change to, and nothing it would do that the peer can't. */
        const bool same = c->peer->uid == geteuid();
        int r;

        r = check_identity(c, w, t);
        if (r >= 0 && !same && geteuid() != 0)
                r = problem(&c->parse, w, "only a privileged supervisor starts programs of other users");
        if (r >= 0 && (!same || (own && own->has_caps)))
                r = check_deputy(c, w, t);
        if (r >= 0)
                r = check_privileges(c, w, t);
        if (r < 0 || config_problems_errors(c->parse.problems) > 0)
                return r;
        if (!same || t->user || (own && (own->group || own->has_groups)))
                r = take_identity(c, t);
        if (r == -E2BIG)
                return refuse(c, w, "supplementary_groups", "you are in too many groups");
        return r < 0 ? r : take_privileges(c, t);
}

static int confine_node(Confine *c, const Where *w, TreeSpec *t)
{
        Where children = { .up = w, .key = "children" };
        int r;

        if (t->node.kind == NODE_ACTOR)
                return confine_actor(c, w, t);
        r = 0;
        for (size_t i = 0; r >= 0 && i < t->n_children; i++) {
                Where at = { .up = &children, .index = i };

                r = confine_node(c, &at, t->children[i]);
        }
        return r;
}

int confine_spec(TreeSpec *spec, const Peer *peer, ConfigProblems *problems)
{
        Confine c = { .parse = { .problems = problems }, .peer = peer };
        int r;

        r = confine_node(&c, NULL, spec);
        if (r < 0)
                return r;
        return config_problems_errors(problems) > 0 ? -EACCES : 0;
}
