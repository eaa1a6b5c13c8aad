/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* How a remembered request is stored with the keeper: one JSON object, so that a successor of another version reads
 * what it knows of it. An intent is stored before its effect, without an answer; when it is answered the same record
 * is stored again, with it. A successor that finds an intent alone can't know how far it went. */

#include "supervisor/remember-table.h"
#include "wire/json.h"

/* The record as text, which the caller frees. */
int remember_record_write(const Remembered *e, char **ret, size_t *ret_n);
/* Puts it into the table, unanswered if it was; -EBADMSG: not a record of ours. */
int remember_record_read(RememberTable *t, const char *text, size_t n, Remembered **ret);
/* What is told of a request that the supervisor died over. */
int remember_unknown_outcome(const char *method, Json **ret);
