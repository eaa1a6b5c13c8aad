/* SPDX-License-Identifier: Apache-2.0 */

/* The table of remembered requests against a naive one: an array in the order of use. Everything is at its real bounds. */

#include <errno.h>
#include <stdio.h>

#include "supervisor/remember-record.h"
#include "tests/test.h"

/* --- the oracle --- */

/* "actor:" and a path of 64 names. */
#define OWNER_MAX (6 + 64 * 65)
#define OWNERS 20
#define KEYS 100
#define STEP_USEC (3ULL * 1000 * 1000)

typedef struct Model {
        int owner, key;
        bool answered;
        uint64_t usec;
        size_t size;
        Remembered *e;
} Model;

static Model model[REMEMBER_MAX + 1]; /* the least recently used first */
static size_t n_model;
static size_t n_due; /* forgotten in the oracle, and not yet told by the table */

static void model_drop(size_t i)
{
        memmove(model + i, model + i + 1, (n_model - i - 1) * sizeof(Model));
        n_model--;
}

static void model_use(size_t i)
{
        Model m = model[i];

        model_drop(i);
        model[n_model++] = m;
}

static ssize_t model_find(int owner, int key)
{
        for (size_t i = 0; i < n_model; i++)
                if (model[i].owner == owner && model[i].key == key)
                        return (ssize_t) i;
        return -1;
}

static size_t model_bytes(void)
{
        size_t n = 0;

        for (size_t i = 0; i < n_model; i++)
                n += model[i].size;
        return n;
}

static size_t model_count(int owner)
{
        size_t n = 0;

        for (size_t i = 0; i < n_model; i++)
                n += model[i].owner == owner;
        return n;
}

static bool model_forget(int owner, size_t end)
{
        for (size_t i = 0; i < end; i++)
                if (model[i].answered && (owner < 0 || model[i].owner == owner)) {
                        model_drop(i);
                        n_due++;
                        return true;
                }
        return false;
}

static void model_expire(uint64_t now)
{
        for (size_t i = 0; i < n_model;)
                if (model[i].answered && now - model[i].usec > REMEMBER_KEPT_USEC) {
                        model_drop(i);
                        n_due++;
                } else {
                        i++;
                }
}

/* --- the table under it --- */

static void on_forget(Remembered *e, void *userdata)
{
        size_t *told = userdata;

        CHECK(e->answered);
        (*told)++;
}

static unsigned long long state = 88172645463325252ULL;
static unsigned below(unsigned n)
{
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return (unsigned) (state % n);
}

static void names(int owner, int key, char o[32], char k[32])
{
        (void) snprintf(o, 32, "uid:%d", owner);
        (void) snprintf(k, 32, "key %d", key);
}

static void step_add(RememberTable *t, int owner, int key, uint64_t now)
{
        Remembered *e = NULL;
        char o[32], k[32];
        int r, expected = 0;

        names(owner, key, o, k);
        r = remember_table_add(t, o, k, "actor.kill", (uint64_t) key, now, &e);
        model_expire(now);
        if (model_find(owner, key) >= 0)
                expected = -EEXIST;
        else if (model_count(owner) >= REMEMBER_PER_OWNER && !model_forget(owner, n_model))
                expected = -EDQUOT;
        else if (n_model >= REMEMBER_MAX && !model_forget(-1, n_model))
                expected = -EDQUOT;
        CHECK_EQ(r, expected);
        if (r == 0)
                model[n_model++] = (Model){ .owner = owner, .key = key, .usec = now, .e = e };
}

static void step_answer(RememberTable *t, size_t i, size_t size, uint64_t now)
{
        char *text = size > 0 ? calloc(1, size) : NULL;

        CHECK(size == 0 || text);
        remember_table_answer(t, model[i].e, text, size, false, now);
        model[i].answered = true;
        model[i].size = size;
        model[i].usec = now;
        model_use(i);
        while (model_bytes() > REMEMBER_BYTES_MAX && model_forget(-1, n_model - 1))
                ;
}

static void check_same(const RememberTable *t)
{
        size_t i = 0;

        LIST_FOREACH(n, &t->all) {
                const Remembered *e = LIST_ENTRY(n, Remembered, all);
                char o[32], k[32];

                CHECK(i < n_model && e == model[i].e);
                names(model[i].owner, model[i].key, o, k);
                CHECK_STR(e->owner, o);
                CHECK_STR(e->key, k);
                CHECK_EQ(e->answered, model[i].answered);
                CHECK(remember_table_get(t, o, k) == e);
                i++;
        }
        CHECK_EQ(i, n_model);
        CHECK_EQ(t->bytes, model_bytes());
}

/* `owners`: how many there are; `lazy`: of 16 new ones, how many are not answered soon. */
static void walk(unsigned owners, unsigned lazy, size_t size_max, uint64_t step)
{
        size_t told = 0;
        RememberTable t;
        uint64_t now = 1000;

        n_model = n_due = 0;
        remember_table_init(&t, on_forget, &told);
        for (unsigned i = 0; i < 6000; i++) {
                int owner = (int) below(owners), key = (int) below(KEYS);
                ssize_t at = model_find(owner, key);

                now += step;
                if (at < 0)
                        step_add(&t, owner, key, now);
                else if (!model[at].answered && below(16) >= lazy)
                        step_answer(&t, (size_t) at, below((unsigned) size_max), now);
                else if (model[at].answered && below(2)) {
                        remember_table_use(&t, model[at].e);
                        model_use((size_t) at);
                } else
                        step_add(&t, owner, key, now);
                CHECK_EQ(told, n_due);
                CHECK(t.bytes <= REMEMBER_BYTES_MAX && t.map.n <= REMEMBER_MAX);
                if (i % 64 == 0)
                        check_same(&t);
        }
        check_same(&t);
        remember_table_clear(&t);
}

static void test_oracle(void)
{
        walk(OWNERS, 2, REMEMBER_ANSWER_MAX, 0);
        walk(OWNERS, 15, 100, 0);      /* nearly all wait: refusals */
        walk(3, 4, 100, STEP_USEC);    /* an owner's own bound, and age */
        walk(OWNERS, 0, 1, STEP_USEC); /* answers that could not be kept */
        walk(OWNERS, 1, REMEMBER_ANSWER_MAX, STEP_USEC / 10);
}

/* --- keys, owners --- */

static void test_keys(void)
{
        char key[REMEMBER_KEY_MAX + 2];

        memset(key, '~', sizeof(key) - 1);
        key[sizeof(key) - 1] = 0;
        CHECK(!remember_key_is_valid(key));
        CHECK(remember_key_is_valid(key + 1));
        CHECK(remember_key_is_valid(" "));
        CHECK(!remember_key_is_valid(""));
        CHECK(!remember_key_is_valid("a\tb"));
        CHECK(!remember_key_is_valid("a\177"));
        CHECK(!remember_key_is_valid("\303\244"));
}

/* What looks alike when owner and key are put together is not the same. */
static void test_owners(void)
{
        Remembered *a, *b;
        RememberTable t;
        size_t told = 0;

        remember_table_init(&t, on_forget, &told);
        CHECK(remember_table_add(&t, "uid:1", "2 k", "m", 0, 0, &a) == 0);
        CHECK(remember_table_add(&t, "uid:12", "k", "m", 0, 0, &b) == 0);
        CHECK(a != b && remember_table_get(&t, "uid:1", "2 k") == a &&
                        remember_table_get(&t, "uid:12", "k") == b);
        CHECK(!remember_table_get(&t, "uid:1", "k") && !remember_table_get(&t, "uid:2", "2 k"));
        remember_table_clear(&t);
}

/* --- records --- */

/* As an answer is written when it is first given. */
static const char *printed(const char *text, Json **ret)
{
        CHECK(json_parse(text, strlen(text), NULL, ret, NULL) == 0);
        return json_print(*ret, NULL);
}

static void check_record(const char *given, bool answered, bool is_error)
{
        _cleanup_json_ Json *v = NULL;
        const char *answer = given ? printed(given, &v) : NULL;
        RememberTable a, b;
        Remembered *e, *f;
        _cleanup_free_ char *text = NULL;
        size_t n, told = 0;

        remember_table_init(&a, on_forget, &told);
        remember_table_init(&b, on_forget, &told);
        CHECK(remember_table_add(&a, "uid:7", "a \"key\"\\", "tree.load", UINT64_MAX - 5, 12345, &e) == 0);
        e->with_fds = true;
        if (answered)
                remember_table_answer(&a, e, answer ? strdup(answer) : NULL, answer ? strlen(answer) : 0,
                                is_error, 54321);
        CHECK(remember_record_write(e, &text, &n) == 0);
        CHECK(remember_record_read(&b, text, n, &f) == 0);
        CHECK_STR(f->name, e->name);
        CHECK_STR(f->owner, "uid:7");
        CHECK_STR(f->method, "tree.load");
        CHECK(f->digest == e->digest && f->usec == e->usec && f->with_fds);
        CHECK(f->answered == answered && f->size == e->size && f->is_error == (answer && is_error));
        CHECK_STR(f->answer, answer);
        CHECK_EQ(remember_record_read(&b, text, n, &f), -EEXIST);
        remember_table_clear(&a);
        remember_table_clear(&b);
}

static void test_records(void)
{
        static const char *const wrong[] = { "", "{", "[]", "{}", "null", "{\"owner\":\"a\",\"key\":\"k\"}",
                "{\"owner\":\"a b\",\"key\":\"k\",\"method\":\"m\"}",
                "{\"owner\":\"a\",\"key\":\"\",\"method\":\"m\"}",
                "{\"owner\":1,\"key\":\"k\",\"method\":\"m\"}" };
        RememberTable t;
        Remembered *e;
        size_t told = 0;

        check_record(NULL, false, false);
        check_record(NULL, true, false);
        check_record("{}", true, false);
        check_record("{\"path\":\"/a\",\"n\":[1,2.50,1e3,-0.0,null,\"\\u0000\\u00e4\"]}", true, false);
        check_record("{\"code\":-32602,\"message\":\"m\",\"data\":{\"a\":{\"b\":[[[[]]]]}}}", true, true);
        remember_table_init(&t, on_forget, &told);
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++)
                CHECK_EQ(remember_record_read(&t, wrong[i], strlen(wrong[i]), &e), -EBADMSG);
        CHECK_EQ(t.map.n, 0);
        remember_table_clear(&t);
}

/* The longest answer, asked under the longest names, still fits what the keeper takes. */
static void test_record_size(void)
{
        _cleanup_free_ char *text = NULL;
        char owner[OWNER_MAX + 1], key[REMEMBER_KEY_MAX + 1], *answer = malloc(REMEMBER_ANSWER_MAX + 1);
        size_t n, told = 0;
        RememberTable t;
        Remembered *e;

        CHECK(answer);
        memset(key, '\\', REMEMBER_KEY_MAX);
        key[REMEMBER_KEY_MAX] = 0;
        memset(answer, 'x', REMEMBER_ANSWER_MAX);
        memcpy(answer, "{\"a\":\"", 6);
        memcpy(answer + REMEMBER_ANSWER_MAX - 2, "\"}", 3);
        remember_table_init(&t, on_forget, &told);
        memset(owner, 'p', OWNER_MAX);
        owner[OWNER_MAX] = 0;
        CHECK(remember_table_add(&t, owner, key, "actor.set_limits", INT64_MAX, 0, &e) == 0);
        remember_table_answer(&t, e, answer, REMEMBER_ANSWER_MAX, true, UINT64_MAX / 4);
        CHECK(remember_record_write(e, &text, &n) == 0);
        CHECK(n <= 32 * 1024);
        remember_table_clear(&t);
}

int main(void)
{
        test_oracle();
        test_keys();
        test_owners();
        test_records();
        test_record_size();
        return 0;
}
