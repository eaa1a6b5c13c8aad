/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* json-c under another name for its one type that clashes with ours. For json.c, json-pack.c and
 * json-print.c. */

#define json_type jsonc_type
#include <json-c/json.h>
#undef json_type
