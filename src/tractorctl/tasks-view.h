/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What an actor answers to `$/tasks`: its tasks, each below the one whose nursery it is in, with what it waits for and
 * where it stands. On a terminal a task's frames are lines below it, elsewhere its last column. The answer is a
 * program's word: ids may be missing, come twice or go round in circles, and each task is shown once all the same. Pure. */

#include "tractorctl/text.h"
#include "wire/json.h"

/* The table's head is static; the caller renders and ends it. */
int tasks_view(const Json *tasks, const Style *style, Table *ret);
