/* SPDX-License-Identifier: Apache-2.0 */

/* Members of a node that come only where they are asked for by name: how it is run, where its output goes, what of its
 * limits does not hold, how long it still waits. All of it is at hand, and what people write without bound is cut. */

#include <errno.h>

#include "base/error.h"
#include "base/usec.h"
#include "supervisor/manager.h"
#include "supervisor/node-json.h"

/* Of one command, as people write it. */
#define WORDS_BYTES 2048U
#define WORDS_MAX 64U
/* In JSON a byte is six at most; quotes, commas and the sign that something is missing come on top. */
#define WORDS_JSON_BYTES (6 * WORDS_BYTES + 8 * WORDS_MAX)
#define WORDS_VALUES (WORDS_MAX + 2)
#define DETAIL_BYTES 512U
#define DETAIL_VALUES (_LIMIT_MAX + 1)
#define CUT "\u2026"

static bool is_named(const Json *fields, const char *name)
{
        for (size_t i = 0; i < json_length(fields); i++)
                if (streq_ptr(json_string(json_item(fields, i)), name))
                        return true;
        return false;
}

static Json *cut_string(const char *s, size_t *left)
{
        size_t n = strlen(s);
        _cleanup_free_ char *cut = NULL;

        if (n <= *left) {
                *left -= n;
                return json_new_string(s, n);
        }
        for (n = *left; n > 0 && ((unsigned char) s[n] & 0xc0) == 0x80;)
                n--;
        *left = 0;
        cut = xasprintf("%.*s" CUT, (int) n, s);
        return cut ? json_new_string(cut, SIZE_MAX) : NULL;
}

static int words_to_json(char *const *words, Json **ret)
{
        size_t left = WORDS_BYTES;
        _cleanup_json_ Json *v = NULL;
        int r = json_pack(&v, "[]");

        for (size_t i = 0; r >= 0 && words[i]; i++) {
                bool full = i == WORDS_MAX || left == 0;
                Json *word = full ? json_new_string(CUT, SIZE_MAX) : cut_string(words[i], &left);

                r = word ? json_append(v, word) : -ENOMEM;
                if (full)
                        break;
        }
        if (r >= 0)
                *ret = TAKE_PTR(v);
        return r;
}

static int path_to_json(const char *path, Json **ret)
{
        size_t left = WORDS_BYTES;

        *ret = cut_string(strna(path), &left);
        return *ret ? 0 : -ENOMEM;
}

/* As a tree file says it. */
static int ready_to_json(const TreeSpec *spec, Json **ret)
{
        const char *kind = ready_kind_to_string(spec->ready);
        _cleanup_json_ Json *v = NULL;
        Json *what = NULL;
        int r;

        if (spec->ready < READY_SOCKET)
                return json_pack(ret, "s", kind);
        r = json_pack(&v, "{}");
        if (r >= 0)
                r = spec->ready == READY_COMMAND ? words_to_json(spec->ready_command, &what)
                                                 : path_to_json(spec->ready_path, &what);
        if (r >= 0)
                r = json_set(v, kind, what);
        if (r >= 0)
                *ret = TAKE_PTR(v);
        return r;
}

/* Where what it writes can be read: of what is not sent elsewhere. */
static int readable_output(const Node *node, Json **ret)
{
        const Member *member = node_member(node);
        const Manager *m = member->manager;
        _cleanup_free_ char *path = NULL;

        if (!output_is_logged(&member->spec->out) && !output_is_logged(&member->spec->err))
                return 0;
        if (journal_available(m->journal))
                return json_pack(ret, "s", "journal");
        if (!m->output)
                return 0;
        path = output_path(m->output, node->path);
        return path ? json_pack(ret, "s", path) : -ENOMEM;
}

static int elsewhere_to_json(const Output *o, Json **ret)
{
        _cleanup_free_ char *file = NULL;

        switch (o->kind) {
        case OUTPUT_INHERIT:
                return json_pack(ret, "s", "inherit");
        case OUTPUT_NULL:
                return json_pack(ret, "s", "null");
        case OUTPUT_FILE:
                file = xasprintf("file:%s", o->path);
                return file ? path_to_json(file, ret) : -ENOMEM;
        default:
                return 0;
        }
}

static int skipped_to_json(const Member *member, Json **ret)
{
        const TreeSpec *spec = member->next_spec ?: member->spec;
        uint32_t skipped = spec->limits.set & ~member->limits.set;
        _cleanup_json_ Json *v = NULL;
        int r;

        if (!skipped)
                return 0;
        r = json_pack(&v, "[]");
        for (Limit l = 0; l < _LIMIT_MAX && r >= 0; l++)
                if (skipped & (1U << l))
                        r = json_append(v, json_new_string(limit_name(l), SIZE_MAX));
        if (r >= 0)
                *ret = TAKE_PTR(v);
        return r;
}

static int backoff_to_json(const Member *member, Json **ret)
{
        uint64_t left = member_backoff_left(member);

        return left == UINT64_MAX ? 0 : json_pack(ret, "U", left / USEC_PER_MSEC);
}

/* 0 without a value where there is nothing to say. */
static int actor_detail(const Node *node, const char *name, Json **ret)
{
        const TreeSpec *spec = node_member(node)->spec;

        if (streq(name, "exec"))
                return words_to_json(spec->exec, ret);
        if (streq(name, "ready"))
                return ready_to_json(spec, ret);
        if (streq(name, "restart"))
                return json_pack(ret, "s", restart_type_to_string(node->spec.restart));
        if (streq(name, "output"))
                return readable_output(node, ret);
        if (streq(name, "stdout"))
                return spec->channel == CHANNEL_STDIO ? 0 : elsewhere_to_json(&spec->out, ret);
        return streq(name, "stderr") ? elsewhere_to_json(&spec->err, ret) : 0;
}

static int supervisor_detail(const Node *node, const char *name, Json **ret)
{
        const Intensity *i = &node->spec.intensity;

        if (streq(name, "on_give_up"))
                return json_pack(ret, "s", give_up_to_string(node->spec.on_give_up));
        if (streq(name, "intensity"))
                return json_pack(ret, "{max_restarts:U, within_ms:U}", (uint64_t) i->max_restarts,
                                i->within_usec / USEC_PER_MSEC);
        return 0;
}

static int detail(const Node *node, const char *name, Json **ret)
{
        if (streq(name, "limits_skipped"))
                return skipped_to_json(node_member(node), ret);
        if (streq(name, "backoff_ms"))
                return backoff_to_json(node_member(node), ret);
        return node->spec.kind == NODE_ACTOR ? actor_detail(node, name, ret)
                                             : supervisor_detail(node, name, ret);
}

/* `words`: what people write without bound. */
static const struct {
        const char *name;
        bool words;
} details[] = {
        { "exec", true },
        { "ready", true },
        { "restart", false },
        { "on_give_up", false },
        { "intensity", false },
        { "limits_skipped", false },
        { "backoff_ms", false },
        { "output", false },
        { "stdout", true },
        { "stderr", true },
};

uint32_t node_details_named(const Json *fields)
{
        uint32_t named = 0;

        for (size_t i = 0; fields && i < ELEMENTSOF(details); i++)
                if (is_named(fields, details[i].name))
                        named |= 1U << i;
        return named;
}

int node_details_to_json(const Node *node, uint32_t named, Json *v)
{
        int r = 0;

        for (size_t i = 0; i < ELEMENTSOF(details) && r >= 0; i++) {
                Json *value = NULL;

                if (!(named & (1U << i)))
                        continue;
                r = detail(node, details[i].name, &value);
                if (r >= 0 && value)
                        r = json_set(v, details[i].name, value);
        }
        return r;
}

void node_details_cost(uint32_t named, size_t *bytes, size_t *values)
{
        for (size_t i = 0; i < ELEMENTSOF(details); i++) {
                if (!(named & (1U << i)))
                        continue;
                *bytes += details[i].words ? WORDS_JSON_BYTES : DETAIL_BYTES;
                *values += details[i].words ? WORDS_VALUES : DETAIL_VALUES;
        }
}
