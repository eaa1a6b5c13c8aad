/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* actor.spawn with `entry`: the program is a file that its asker has open, its own as a rule, and which of its functions
 * is meant is told to it by name in its environment. The descriptor is what is run, whatever becomes of its path, also by
 * each restart: it stays open as long as the child's specification is there. Reading it off a request needs the request's
 * descriptors, so that it is done before the child's other keys are looked at. */

#include "supervisor/config.h"
#include "supervisor/methods.h"

struct Entry {
        char *name; /* NULL: none was asked for */
        char *args; /* JSON, or NULL */
        char **argv;
        int fd;
};

void entry_done(Entry *e);
/* What params say of it, with the descriptor that came with the request; without an `entry` *ret is empty. False: the
 * call is answered already. */
bool entry_of_request(Request *q, Entry *ret);
/* Is it one of the members that are read here? */
bool entry_is_key(const char *key);
/* Moves it into `spec`, in the place of `exec`. */
void entry_give(Entry *e, TreeSpec *spec);
