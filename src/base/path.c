/* SPDX-License-Identifier: Apache-2.0 */
#include "base/path.h"

#define ALNUM "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"

static size_t name_span(const char *s)
{
        if (strspn(s, ALNUM) == 0)
                return 0;
        return strspn(s, ALNUM ".-");
}

bool node_name_is_valid(const char *s)
{
        size_t n = name_span(s);

        return n > 0 && n <= NODE_NAME_MAX && s[n] == 0;
}

bool node_path_is_valid(const char *s)
{
        if (streq(s, "/"))
                return true;
        while (*s == '/') {
                size_t n = name_span(++s);

                if (n == 0 || n > NODE_NAME_MAX)
                        return false;
                s += n;
                if (*s == 0)
                        return true;
        }
        return false;
}

bool node_path_covers(const char *top, const char *path)
{
        const char *rest;

        if (streq(top, "/"))
                return true;
        rest = startswith(path, top);
        return rest && (*rest == 0 || *rest == '/');
}

char *node_path_join(const char *parent, const char *name)
{
        return xasprintf("%s/%s", streq(parent, "/") ? "" : parent, name);
}
