/* SPDX-License-Identifier: Apache-2.0 */
#include <fnmatch.h>

#include "tractorctl/glob.h"

bool glob_is(const char *s)
{
        return strpbrk(s, "*?[") != NULL;
}

static bool is_meant(const Json *node, const char *pattern, GlobKind kind)
{
        const char *path = json_get_string(node, "path", "/"), *state = json_get_string(node, "state", "");

        if (streq(path, "/") || fnmatch(pattern, path, 0) != 0)
                return false;
        if (kind == GLOB_ACTORS)
                return streq(json_get_string(node, "kind", ""), "actor");
        return kind != GLOB_INACTIVE || streq(state, "dead") || streq(state, "failed");
}

int glob_expand(const Json *node, const char *pattern, GlobKind kind, char ***paths)
{
        const Json *children = json_get(node, "children");
        int r = 0;

        if (is_meant(node, pattern, kind))
                return strv_append(paths, json_get_string(node, "path", "/"));
        for (size_t i = 0; r >= 0 && i < json_length(children); i++)
                r = glob_expand(json_item(children, i), pattern, kind, paths);
        return r;
}
