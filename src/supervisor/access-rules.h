/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Rules of who may do what, as tractor-access(5) describes them: read from JSON, and matched. Pure: files, names of
 * users and what holds where no rule applies are access.h's.
 *
 * A rule is about a request when it is about the peer, the method and the path. Requests reach what is below their path,
 * hence the asymmetry that makes rules safe to combine: one that allows must cover all of what is asked for, one that
 * denies needs to touch it. The first rule that is about a request decides. */

#include "supervisor/config.h"
#include "supervisor/peer.h"

#define ACCESS_RULES_MAX 1024U
#define ACCESS_LIST_MAX 256U

typedef struct AccessName {
        char *text;  /* as written; a number written out */
        uint32_t id; /* once resolved */
        bool is_group;
        bool resolved;
        char *pointer; /* where it stands, for a problem found when it is looked up */
} AccessName;

typedef struct AccessRule {
        char *label; /* "FILE: NAME" */
        char *name;
        bool allow;
        bool anyone; /* clients and actors alike */
        AccessName *names;
        size_t n_names, names_cap;
        bool has_users, has_groups;
        char **actors;  /* "/shop/api"; with "/" and "*" behind it, all below */
        char **methods; /* "tree.get", "actor.*", "*" */
        char *subtree;
} AccessRule;

typedef struct AccessRules {
        AccessRule *items;
        size_t n, cap;
} AccessRules;

/* Appends the rules of one file; `known` says whether a method is one of ours. 0, also when problems were found, which
 * are appended to `problems` with pointers that begin with the file's name; or -ENOMEM. */
int access_rules_parse(Json *list, const char *file, bool (*known)(const char *method), AccessRules *rules,
                ConfigProblems *problems);
void access_rules_done(AccessRules *rules);

/* The rule that decides, or NULL. `path` NULL: a search, whose finds are asked about one by one. */
const AccessRule *access_rules_match(
                const AccessRules *rules, const Peer *peer, const char *method, const char *path);
