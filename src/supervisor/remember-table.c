/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "supervisor/remember-table.h"

void remember_table_init(RememberTable *t, void (*on_forget)(Remembered *e, void *userdata), void *userdata)
{
        *t = (RememberTable){ .on_forget = on_forget, .userdata = userdata };
        list_init(&t->all);
}

static Remembered *remembered_free(Remembered *e)
{
        free(e->owner);
        free(e->name);
        free(e->method);
        free(e->answer);
        free(e);
        return NULL;
}
DEFINE_CLEANUP(Remembered *, remembered_free);

void remember_table_drop(RememberTable *t, Remembered *e)
{
        (void) map_remove(&t->map, e->name);
        list_unlink(&e->all);
        t->bytes -= e->size;
        remembered_free(e);
}

void remember_table_clear(RememberTable *t)
{
        LIST_FOREACH_SAFE(i, &t->all)
                remember_table_drop(t, LIST_ENTRY(i, Remembered, all));
        assert(t->map.n == 0 && t->bytes == 0);
        map_clear(&t->map);
}

uint64_t remember_hash(uint64_t h, const char *p, size_t n)
{
        for (size_t i = 0; i < n; i++)
                h = (h ^ (unsigned char) p[i]) * 0x100000001b3;
        return h;
}

bool remember_key_is_valid(const char *key)
{
        size_t n = strlen(key);

        for (size_t i = 0; i < n; i++)
                if (key[i] < ' ' || key[i] > '~')
                        return false;
        return n >= 1 && n <= REMEMBER_KEY_MAX;
}

Remembered *remember_table_get(const RememberTable *t, const char *owner, const char *key)
{
        _cleanup_free_ char *name = xasprintf("%s %s", owner, key);

        return name ? map_get(&t->map, name) : NULL;
}

static void forget(RememberTable *t, Remembered *e)
{
        t->on_forget(e, t->userdata);
        remember_table_drop(t, e);
}

static void forget_old(RememberTable *t, uint64_t now)
{
        LIST_FOREACH_SAFE(i, &t->all) {
                Remembered *e = LIST_ENTRY(i, Remembered, all);

                if (e->answered && now > e->usec && now - e->usec > REMEMBER_KEPT_USEC)
                        forget(t, e);
        }
}

/* The least recently used answer, `owner`'s or (NULL) anybody's, but not `spared`; false: there is none. */
static bool forget_one(RememberTable *t, const char *owner, const Remembered *spared)
{
        LIST_FOREACH(i, &t->all) {
                Remembered *e = LIST_ENTRY(i, Remembered, all);

                if (e->answered && e != spared && (!owner || streq(e->owner, owner))) {
                        forget(t, e);
                        return true;
                }
        }
        return false;
}

static size_t count_owner(const RememberTable *t, const char *owner)
{
        size_t n = 0;

        LIST_FOREACH(i, &t->all)
                n += streq(LIST_ENTRY(i, Remembered, all)->owner, owner);
        return n;
}

static int remembered_new(const char *owner, const char *key, const char *method, Remembered **ret)
{
        _cleanup_(remembered_freep) Remembered *e = calloc(1, sizeof(Remembered));

        if (!e)
                return -ENOMEM;
        e->owner = strdup(owner);
        e->name = xasprintf("%s %s", owner, key);
        e->method = strdup(method);
        if (!e->owner || !e->name || !e->method)
                return -ENOMEM;
        e->key = e->name + strlen(owner) + 1;
        *ret = TAKE_PTR(e);
        return 0;
}

int remember_table_add(RememberTable *t, const char *owner, const char *key, const char *method,
                uint64_t digest, uint64_t now, Remembered **ret)
{
        _cleanup_(remembered_freep) Remembered *e = NULL;
        int r;

        forget_old(t, now);
        if (remember_table_get(t, owner, key))
                return -EEXIST;
        if (count_owner(t, owner) >= REMEMBER_PER_OWNER && !forget_one(t, owner, NULL))
                return -EDQUOT;
        if (t->map.n >= REMEMBER_MAX && !forget_one(t, NULL, NULL))
                return -EDQUOT;
        r = remembered_new(owner, key, method, &e);
        if (r < 0)
                return r;
        r = map_put(&t->map, e->name, e);
        if (r < 0)
                return r;
        e->digest = digest;
        e->usec = now;
        list_append(&t->all, &e->all);
        *ret = TAKE_PTR(e);
        return 0;
}

void remember_table_answer(
                RememberTable *t, Remembered *e, char *answer, size_t size, bool is_error, uint64_t now)
{
        e->answered = true;
        e->is_error = is_error;
        e->answer = answer;
        e->size = size;
        e->usec = now;
        t->bytes += size;
        remember_table_use(t, e);
        while (t->bytes > REMEMBER_BYTES_MAX && forget_one(t, NULL, e))
                ;
}

void remember_table_use(RememberTable *t, Remembered *e)
{
        list_unlink(&e->all);
        list_append(&t->all, &e->all);
}
