/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Says whether a text is one RFC 8259 value and nothing else, in one pass without allocating: exact UTF-8, no raw
 * control characters, no lone surrogate escapes, no NUL in a key, no integer beyond int64, bounded nesting and
 * number of values. What passes here json.c builds without looking again, so nothing may pass here in doubt.
 * Nesting is a bit a level (object or array), so that a hostile text can't use up the stack. */

#include "wire/json.h"

#define SCAN_DEPTH_DEFAULT 64U
#define SCAN_DEPTH_LIMIT 256U /* json.c, json-c's printer and its destructor recurse */
#define SCAN_VALUES_DEFAULT 65536U

/* 0 or -EBADMSG with *reterr (not NULL). `limits` may be NULL. */
int scan_json(const char *text, size_t n, const JsonLimits *limits, JsonError *reterr);
/* Length of the UTF-8 sequence at p, p < end; 0 when it is none. */
size_t scan_utf8(const char *p, const char *end);
