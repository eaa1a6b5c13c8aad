/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "tractorctl/help.h"
#include "tractorctl/verb-table.h"

#define SYNOPSIS_WIDTH 46
#define OPTION_WIDTH 28

/* printf() pads by bytes; the only character here that has more than one is the ellipsis, of three. */
static void put_verb(FILE *f, Verb v)
{
        const char *synopsis = verb_synopsis(v);
        int width = SYNOPSIS_WIDTH;

        for (const char *s = synopsis; (s = strstr(s, "…")); s++)
                width += 2;
        fprintf(f, "  %-*s %s\n", width, synopsis, verb_table[v].help);
}

static void put_option(FILE *f, const OptionInfo *i)
{
        char letter[] = { '-', i->letter, ',', ' ', 0 }, text[64];
        const char *value = i->value ?: "";
        bool optional = i->kind == OPTION_JSON;

        (void) snprintf(text, sizeof(text), "%s--%s%s%s%s", i->letter ? letter : "", i->name,
                        optional ? "["
                        : *value ? " "
                                 : "",
                        value, optional ? "]" : "");
        fprintf(f, "  %-*s %s\n", OPTION_WIDTH, text, i->help);
}

static void put_options(FILE *f, uint32_t verbs, const char *head)
{
        for (size_t i = 0; i < option_table_length; i++) {
                const OptionInfo *o = &option_table[i];

                if (verbs == EVERY_VERB ? o->verbs != EVERY_VERB
                                        : o->verbs == EVERY_VERB || !(o->verbs & verbs))
                        continue;
                fputs(head, f);
                head = "";
                put_option(f, o);
        }
}

static void put_overview(FILE *f)
{
        fputs("tractorctl [OPTION…] VERB [ARGUMENT…]\n\n", f);
        for (Verb v = 0; v < _VERB_BUILT_MAX; v++)
                put_verb(f, v);
        put_options(f, EVERY_VERB, "\nOptions of every verb, before or after it:\n");
        fputs("\n'tractorctl help VERB' tells what a verb takes, with an example.\n"
              "Exit codes: 0 done, 1 failed, 2 usage, 3 not running or not found, 4 permission denied,\n"
              "5 no supervisor to talk to. See tractorctl(1) and tractor-tree(5).\n",
                        f);
}

static void put_details(FILE *f, Verb v)
{
        const VerbInfo *info = &verb_table[v];

        fprintf(f, "usage: tractorctl %s\n%s\n", verb_synopsis(v), info->help);
        put_options(f, VERB_BIT(v), "\nOptions:\n");
        if (v == VERB_SET_LIMIT) {
                fputs("\nLimits:", f);
                for (size_t i = 0; i < limit_names_length; i++)
                        fprintf(f, "%s%s", i == 5 ? "\n        " : " ", limit_names[i]);
                fputs("\n", f);
        }
        if (info->paths == PATHS_ALL)
                fputs("\nA PATH may be a pattern of * ? [ ], quoted: '/shop/web/*'.\n", f);
        fprintf(f, "\nExample:\n  tractorctl %s\n", info->example);
        fputs("\n'tractorctl help' has the options of every verb.\n", f);
}

char *help_overview(void)
{
        return help_verb(_VERB_INVALID);
}

char *help_verb(Verb v)
{
        char *text = NULL;
        size_t n = 0;
        FILE *f = open_memstream(&text, &n);

        if (!f)
                return NULL;
        if (v < 0 || v >= _VERB_BUILT_MAX)
                put_overview(f);
        else
                put_details(f, v);
        if (fclose(f) != 0) {
                free(text);
                return NULL;
        }
        return text;
}
