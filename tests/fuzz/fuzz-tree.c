/* SPDX-License-Identifier: Apache-2.0 */
/* Any JSON as a tree file: it parses, or each problem points at a value that is there and says something
 * printable. Limits that were read are read again from what they are printed as. */
#include <errno.h>

#include "base/macro.h"
#include "problems.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_limits(const Limits *l)
{
        _cleanup_json_ Json *v = NULL;
        JsonIterator i = { 0 };
        Limits again = { 0 };
        const char *why;

        REQUIRE(limits_to_json(l, &v) == 0);
        REQUIRE((v == NULL) == (l->set == 0));
        while (v && json_next(v, &i))
                REQUIRE(limits_set_from_json(&again, limit_from_name(i.key), i.value, &why) == 0);
        REQUIRE(again.set == l->set && memcmp(again.values, l->values, sizeof(l->values)) == 0);
        REQUIRE(streq_ptr(again.allowed_cpus, l->allowed_cpus));
        limits_done(&again);
}

static void check_spec(const TreeSpec *t)
{
        REQUIRE(t->name && t->node.name == t->name && t->node.depends == t->depends);
        REQUIRE((t->node.kind == NODE_ACTOR) == (t->exec != NULL));
        REQUIRE(t->node.kind == NODE_SUPERVISOR || t->n_children == 0);
        REQUIRE(t->stop_signal > 0 && signal_to_name(t->stop_signal));
        check_limits(&t->limits);
        for (size_t i = 0; i < t->n_children; i++)
                check_spec(t->children[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_json_ Json *v = NULL;
        _cleanup_(tree_spec_unrefp) TreeSpec *t = NULL;
        ConfigProblems problems = { 0 };
        int r;

        if (json_parse((const char *) data, size, NULL, &v, NULL) < 0)
                return 0;
        r = config_parse_tree(v, &t, &problems);
        REQUIRE(r == 0 || r == -EINVAL);
        REQUIRE((r == 0) == (t != NULL) && (r == 0) == (config_problems_errors(&problems) == 0));
        check_problems(v, &problems);
        if (t)
                check_spec(t);
        config_problems_done(&problems);
        return 0;
}
