/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "wire/message.h"
#include "wire/scan.h"

/* What is read as JSON prints as JSON that reads as the same; what is read as a message keeps its promises; and no
 * text is read whose scan failed. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
        if (!ok)
                abort();
}

/* Every way into the tree that the rest of the project takes. */
static size_t walk(const Json *v)
{
        JsonIterator i = { 0 };
        size_t n = 1;

        check(json_type_name(json_type(v)) != NULL);
        for (size_t k = 0; json_type(v) == JSON_ARRAY && k < json_length(v); k++)
                n += walk(json_item(v, k));
        while (json_next(v, &i)) {
                check(json_has(v, i.key) && json_get(v, i.key) == i.value);
                n += walk(i.value);
        }
        if (json_type(v) == JSON_STRING)
                check(strlen(json_string(v)) <= json_string_length(v));
        return n;
}

static void try_json(const char *text, size_t size, const JsonLimits *limits)
{
        _cleanup_json_ Json *v = NULL, *again = NULL;
        JsonError error = { 0 }, scanned = { 0 };
        int r = json_parse(text, size, limits, &v, &error), s = scan_json(text, size, limits, &scanned);
        const char *printed;
        size_t n = 0;

        if (r < 0) {
                check(r == -EBADMSG && error.message && error.offset <= size);
                check(s == 0 || error.offset == scanned.offset);
                return;
        }
        check(s == 0 && walk(v) <= limits->max_values);
        printed = json_print(v, &n);
        check(printed && json_parse(printed, n, limits, &again, &error) == 0 && json_equal(v, again));
}

static void try_message(const char *text, size_t size)
{
        MessageFault fault;
        const char *why;
        Message m;

        check(message_parse(text, size, NULL, &m, &fault, &why) == 0);
        check(!why == (fault == MESSAGE_OK));
        if (fault == MESSAGE_OK) {
                bool call = m.kind == MESSAGE_REQUEST || m.kind == MESSAGE_NOTIFICATION;

                check(call == (m.method && *m.method));
                check((m.kind == MESSAGE_NOTIFICATION) <= !m.id);
                check((m.kind == MESSAGE_ERROR) == (m.error != NULL) && m.n_fds <= MESSAGE_FDS_MAX);
                check(m.credit >= -1 && m.deadline_ms >= -1);
        } else
                check(!m.root == !m.id && (!m.id || fault == MESSAGE_FAULT_INVALID));
        message_done(&m);
}

/* Any bytes can be made a string that is one. */
static void try_string(const char *text, size_t size)
{
        _cleanup_json_ Json *v = json_new_string(text, size), *again = NULL;
        const char *printed;
        size_t n = 0;

        check(v != NULL);
        printed = json_print(v, &n);
        check(json_parse(printed, n, NULL, &again, NULL) == 0 && json_equal(v, again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const JsonLimits wide = { .max_values = 65536 }, narrow = { .max_depth = 3, .max_values = 8 };
        const char *text = (const char *) data;

        try_json(text, size, &wide);
        try_json(text, size, &narrow);
        try_message(text, size);
        try_string(text, size);
        return 0;
}
