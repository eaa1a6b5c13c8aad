/* SPDX-License-Identifier: Apache-2.0 */
/* Any JSON as a file of access rules: it is read, or each problem points at a value that is there. Rules that were read
 * can be asked. */
#include <errno.h>

#include "problems.h"
#include "supervisor/access-rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool known(const char *method)
{
        return streq(method, "tree.get") || streq(method, "actor.*");
}

static void ask(const AccessRules *rules)
{
        static const char *const paths[] = { NULL, "/", "/shop", "/shop/api" };
        gid_t group = 5;
        char path[] = "/shop/api";
        const Peer peers[] = { { .uid = 1, .gid = 2, .groups = &group, .n_groups = 1 },
                { .kind = PEER_ACTOR, .path = path } };

        for (size_t i = 0; i < ELEMENTSOF(peers); i++)
                for (size_t k = 0; k < ELEMENTSOF(paths); k++) {
                        const AccessRule *rule = access_rules_match(rules, &peers[i], "tree.get", paths[k]);

                        REQUIRE(!rule || (rule->label && rule->methods && rule->subtree));
                }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_json_ Json *list = NULL, *file = NULL;
        ConfigProblems problems = { 0 };
        AccessRules rules = { 0 };

        if (json_parse((const char *) data, size, NULL, &list, NULL) < 0)
                return 0;
        REQUIRE(access_rules_parse(list, "f", known, &rules, &problems) == 0);
        REQUIRE(json_pack(&file, "{f:O}", list) == 0);
        check_problems(file, &problems);
        if (problems.n == 0) {
                REQUIRE(rules.n == json_length(list));
                ask(&rules);
        }
        access_rules_done(&rules);
        config_problems_done(&problems);
        return 0;
}
