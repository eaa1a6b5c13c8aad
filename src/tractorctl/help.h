/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The texts of `help`, made of the tables of verbs and options. The caller frees; NULL when out of memory. */

#include "tractorctl/options.h"

/* All verbs, a line each, and the options that all of them take. */
char *help_overview(void);
/* One verb: how it is written, its options, an example. */
char *help_verb(Verb v);
