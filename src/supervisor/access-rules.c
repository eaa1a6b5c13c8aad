/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "supervisor/access-rules.h"
#include "supervisor/config-parse.h"

#define NAME_BYTES_MAX 128U
#define PATH_BYTES_MAX 4096U

/* What the readers of a rule's keys fill. */
typedef struct Reading {
        AccessRule rule;
        const char *file;
        bool (*known)(const char *method);
} Reading;

static void rule_done(AccessRule *rule)
{
        for (size_t i = 0; i < rule->n_names; i++) {
                free(rule->names[i].text);
                free(rule->names[i].pointer);
        }
        free(rule->names);
        free(rule->label);
        free(rule->name);
        strv_free(rule->actors);
        strv_free(rule->methods);
        free(rule->subtree);
}

void access_rules_done(AccessRules *rules)
{
        for (size_t i = 0; i < rules->n; i++)
                rule_done(&rules->items[i]);
        free(rules->items);
        *rules = (AccessRules){ 0 };
}

/* --- reading --- */

typedef int (*read_item_t)(Parse *p, const Where *w, Json *v, const Key *key, Reading *reading);

/* One value or a list of them. */
static int read_list(Parse *p, const Where *w, Json *v, const Key *key, Reading *reading, read_item_t read)
{
        int r = 0;

        if (json_type(v) != JSON_ARRAY)
                return read(p, w, v, key, reading);
        if (json_length(v) == 0 || json_length(v) > ACCESS_LIST_MAX)
                return problem(p, w, "must have at least one entry, and at most %u", ACCESS_LIST_MAX);
        for (size_t i = 0; r >= 0 && i < json_length(v); i++) {
                Where at = { .up = w, .index = i };

                r = read(p, &at, json_item(v, i), key, reading);
        }
        return r;
}

static int add_name(Parse *p, const Where *w, Json *v, const Key *key, Reading *reading)
{
        AccessRule *rule = &reading->rule;
        AccessName name = { .is_group = key->offset == offsetof(Reading, rule.has_groups) };
        int r;

        r = value_identity(p, w, v, &name.text);
        if (r <= 0)
                return r;
        name.resolved = name.text[strspn(name.text, "0123456789")] == 0;
        if (name.resolved)
                name.id = (uint32_t) strtoul(name.text, NULL, 10);
        name.pointer = where_pointer(w);
        if (!name.pointer || GROW(rule->names, rule->names_cap, rule->n_names + 1) < 0) {
                free(name.text);
                free(name.pointer);
                return -ENOMEM;
        }
        rule->names[rule->n_names++] = name;
        return 0;
}

static int key_names(Parse *p, const Where *w, Json *v, const Key *key, void *target)
{
        *(bool *) key_field(key, target) = true;
        return read_list(p, w, v, key, target, add_name);
}

static bool actor_pattern_is_valid(const char *s)
{
        size_t n = strlen(s);
        _cleanup_free_ char *path = NULL;

        if (streq(s, "/*"))
                return true;
        path = n > 2 && streq(s + n - 2, "/*") ? strndup(s, n - 2) : strdup(s);
        return path && !streq(path, "/") && node_path_is_valid(path);
}

static int add_pattern(Parse *p, const Where *w, Json *v, const Key *key, Reading *reading)
{
        const bool actors = key->offset == offsetof(Reading, rule.actors);
        char buffer[SHOWN_MAX];
        const char *s;
        int r;

        r = value_string(p, w, v, (size_t) key->max, &s);
        if (r <= 0)
                return r;
        if (actors && !actor_pattern_is_valid(s))
                return problem(p, w, "must be an actor's path, or one that ends in \"/*\", not \"%s\"",
                                shown(buffer, s));
        if (!actors && !streq(s, "*") && !reading->known(s))
                return problem(p, w, "no method is called \"%s\"", shown(buffer, s));
        return strv_append(key_field(key, reading), s);
}

static int key_patterns(Parse *p, const Where *w, Json *v, const Key *key, void *target)
{
        return read_list(p, w, v, key, target, add_pattern);
}

static int key_who(Parse *p, const Where *w, Json *v, const Key *key, void *target)
{
        static const Key keys[] = {
                { "user", KEY_ANY, key_names, offsetof(Reading, rule.has_users) },
                { "group", KEY_ANY, key_names, offsetof(Reading, rule.has_groups) },
                { "actor", KEY_ANY, key_patterns, offsetof(Reading, rule.actors), 0, PATH_BYTES_MAX },
        };
        const char *s = json_string(v);
        Reading *reading = target;

        if (s && streq(s, "anyone")) {
                reading->rule.anyone = true;
                return 0;
        }
        if (json_type(v) != JSON_OBJECT || json_length(v) == 0)
                return problem(p, w, "must be \"anyone\", or an object with user, group or actor");
        return read_object(p, w, v, keys, ELEMENTSOF(keys), KEY_ANY, target);
}

static int key_subtree(Parse *p, const Where *w, Json *v, const Key *key, void *target)
{
        char buffer[SHOWN_MAX];
        const char *s;
        int r;

        r = value_string(p, w, v, PATH_BYTES_MAX, &s);
        if (r <= 0)
                return r;
        if (!node_path_is_valid(s))
                return problem(p, w, "must be a path, not \"%s\"", shown(buffer, s));
        return free_and_strdup(&((Reading *) target)->rule.subtree, s);
}

static int key_name(Parse *p, const Where *w, Json *v, const Key *key, void *target)
{
        Reading *reading = target;
        char buffer[SHOWN_MAX];
        const char *s;
        int r;

        r = value_string(p, w, v, NAME_BYTES_MAX, &s);
        if (r <= 0)
                return r;
        free(reading->rule.label);
        reading->rule.label = xasprintf("%s: %s", reading->file, shown(buffer, s));
        return reading->rule.label ? free_and_strdup(&reading->rule.name, s) : -ENOMEM;
}

static int read_rule(Parse *p, const Where *w, Json *v, Reading *reading)
{
        static const Key keys[] = {
                { "name", KEY_ANY, key_name },
                { "who", KEY_ANY, key_who },
                { "methods", KEY_ANY, key_patterns, offsetof(Reading, rule.methods), 0, NAME_BYTES_MAX },
                { "subtree", KEY_ANY, key_subtree },
                { "allow", KEY_ANY, key_bool, offsetof(Reading, rule.allow) },
        };
        int r;

        r = read_object(p, w, v, keys, ELEMENTSOF(keys), KEY_ANY, reading);
        for (size_t i = 0; r >= 0 && json_type(v) == JSON_OBJECT && i < ELEMENTSOF(keys); i++)
                if (!streq(keys[i].name, "subtree") && !json_has(v, keys[i].name))
                        r = problem(p, w, "`%s` is missing", keys[i].name);
        if (r >= 0 && !reading->rule.subtree)
                r = free_and_strdup(&reading->rule.subtree, "/");
        return r;
}

static bool has_name(const AccessRules *rules, size_t from, const char *name)
{
        for (size_t i = from; i < rules->n; i++)
                if (streq_ptr(rules->items[i].name, name))
                        return true;
        return false;
}

int access_rules_parse(Json *list, const char *file, bool (*known)(const char *method), AccessRules *rules,
                ConfigProblems *problems)
{
        Parse p = { .problems = problems };
        const Where top = { .key = file };
        const size_t from = rules->n;
        int r = 0;

        if (json_type(list) != JSON_ARRAY)
                return problem_type(&p, &top, list, "a list of rules");
        if (rules->n + json_length(list) > ACCESS_RULES_MAX)
                return problem(&p, &top, "more than %u rules in all", ACCESS_RULES_MAX);
        for (size_t i = 0; r >= 0 && i < json_length(list); i++) {
                Where at = { .up = &top, .index = i }, name = { .up = &at, .key = "name" };
                Reading reading = { .file = file, .known = known };

                r = read_rule(&p, &at, json_item(list, i), &reading);
                if (r >= 0 && reading.rule.name && has_name(rules, from, reading.rule.name))
                        r = problem(&p, &name, "a rule before it has this name");
                if (r >= 0)
                        r = GROW(rules->items, rules->cap, rules->n + 1);
                if (r >= 0)
                        rules->items[rules->n++] = reading.rule;
                else
                        rule_done(&reading.rule);
        }
        return r;
}

/* --- matching --- */

static bool actor_matches(char *const *patterns, const char *path)
{
        for (; *patterns; patterns++) {
                size_t n = strlen(*patterns);

                if ((*patterns)[n - 1] != '*' ? streq(*patterns, path)
                                              : strncmp(*patterns, path, n - 1) == 0 && path[n - 1])
                        return true;
        }
        return false;
}

/* A look-up that failed leaves no rules at all, so every name here is resolved. */
static bool names_match(const AccessRule *rule, const Peer *peer, bool groups)
{
        for (size_t i = 0; i < rule->n_names; i++) {
                const AccessName *name = &rule->names[i];

                if (name->is_group == groups && name->resolved &&
                                (groups ? peer_has_group(peer, name->id) : peer->uid == name->id))
                        return true;
        }
        return false;
}

/* All that `who` names must hold. Without an actor a rule is about clients, lest one for an operator reached every
 * service that runs as that user. */
static bool rule_is_about(const AccessRule *rule, const Peer *peer)
{
        if (rule->anyone)
                return true;
        if ((rule->actors != NULL) != (peer->kind == PEER_ACTOR))
                return false;
        if (rule->actors && !actor_matches(rule->actors, peer->path))
                return false;
        return (!rule->has_users || names_match(rule, peer, false)) &&
               (!rule->has_groups || names_match(rule, peer, true));
}

static bool method_matches(char *const *patterns, const char *method)
{
        for (; patterns && *patterns; patterns++) {
                size_t n = strlen(*patterns);

                if ((*patterns)[n - 1] == '*' ? strncmp(*patterns, method, n - 1) == 0
                                              : streq(*patterns, method))
                        return true;
        }
        return false;
}

static bool path_matches(const AccessRule *rule, const char *path)
{
        if (!path)
                return rule->allow || streq(rule->subtree, "/");
        if (node_path_covers(rule->subtree, path))
                return true;
        return !rule->allow && node_path_covers(path, rule->subtree);
}

const AccessRule *access_rules_match(
                const AccessRules *rules, const Peer *peer, const char *method, const char *path)
{
        for (size_t i = 0; i < rules->n; i++) {
                const AccessRule *rule = &rules->items[i];

                if (rule_is_about(rule, peer) && method_matches(rule->methods, method) &&
                                path_matches(rule, path))
                        return rule;
        }
        return NULL;
}
