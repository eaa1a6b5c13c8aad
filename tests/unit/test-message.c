/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "test.h"
#include "wire/message.h"

static Message parse(const char *line, MessageFault want)
{
        MessageFault fault = (MessageFault) -1;
        const char *why = NULL;
        Message m = { 0 };

        CHECK_EQ(message_parse(line, strlen(line), NULL, &m, &fault, &why), 0);
        if (fault != want) {
                fprintf(stderr, "%s: fault %d (%s), not %d\n", line, (int) fault, strna(why), (int) want);
                abort();
        }
        CHECK(!why == (fault == MESSAGE_OK));
        return m;
}

#define V "\"jsonrpc\":\"2.0\","

static void kinds(void)
{
        static const struct {
                const char *line;
                MessageKind kind;
        } rows[] = {
                { "{" V "\"id\":1,\"method\":\"a\"}", MESSAGE_REQUEST },
                { "{" V "\"id\":\"x\",\"method\":\"a\",\"params\":[]}", MESSAGE_REQUEST },
                { "{" V "\"id\":1.5,\"method\":\"a\",\"params\":{}}", MESSAGE_REQUEST },
                { "{" V "\"method\":\"a\"}", MESSAGE_NOTIFICATION },
                { "{" V "\"id\":1,\"result\":null}", MESSAGE_RESULT },
                { "{" V "\"id\":1,\"result\":{}}", MESSAGE_RESULT },
                { "{" V "\"id\":1,\"error\":{\"code\":-1,\"message\":\"\"}}", MESSAGE_ERROR },
                { "{" V "\"id\":null,\"error\":{\"code\":-1,\"message\":\"m\",\"data\":1}}", MESSAGE_ERROR },
                { "{\"unknown\":1," V "\"method\":\"a\"}", MESSAGE_NOTIFICATION },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                Message m = parse(rows[i].line, MESSAGE_OK);

                CHECK_EQ(m.kind, rows[i].kind);
                message_done(&m);
        }
}

static void invalid(void)
{
        static const char *const lines[] = {
                "1",
                "null",
                "\"x\"",
                "[]",
                "[{" V "\"id\":1,\"method\":\"a\"}]",
                "{}",
                "{\"id\":1,\"method\":\"a\"}",
                "{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"a\"}",
                "{\"jsonrpc\":2.0,\"id\":1,\"method\":\"a\"}",
                "{" V "\"id\":1}",
                "{" V "\"id\":null,\"method\":\"a\"}",
                "{" V "\"id\":true,\"method\":\"a\"}",
                "{" V "\"id\":[],\"method\":\"a\"}",
                "{" V "\"id\":{},\"method\":\"a\"}",
                "{" V "\"id\":1,\"method\":1}",
                "{" V "\"id\":1,\"method\":\"\"}",
                "{" V "\"id\":1,\"method\":null}",
                "{" V "\"id\":1,\"method\":\"a\\u0000b\"}",
                "{" V "\"id\":1,\"method\":\"a\",\"params\":1}",
                "{" V "\"id\":1,\"method\":\"a\",\"params\":null}",
                "{" V "\"id\":1,\"method\":\"a\",\"result\":1}",
                "{" V "\"id\":1,\"result\":1,\"error\":{\"code\":1,\"message\":\"\"}}",
                "{" V "\"result\":1}",
                "{" V "\"id\":null,\"result\":1}",
                "{" V "\"error\":{\"code\":1,\"message\":\"\"}}",
                "{" V "\"id\":1,\"error\":null}",
                "{" V "\"id\":1,\"error\":\"x\"}",
                "{" V "\"id\":1,\"error\":{\"code\":\"1\",\"message\":\"\"}}",
                "{" V "\"id\":1,\"error\":{\"code\":1}}",
                "{" V "\"id\":1,\"error\":{\"code\":1.5,\"message\":\"\"}}",
                "{" V "\"method\":\"a\",\"$\":null}",
                "{" V "\"method\":\"a\",\"$\":[]}",
                "{" V "\"method\":\"a\",\"$\":{\"ctx\":1}}",
                "{" V "\"method\":\"a\",\"$\":{\"deadline_ms\":-1}}",
                "{" V "\"method\":\"a\",\"$\":{\"deadline_ms\":1.5}}",
                "{" V "\"method\":\"a\",\"$\":{\"credit\":-1}}",
                "{" V "\"method\":\"a\",\"$\":{\"credit\":4294967296}}",
                "{" V "\"method\":\"a\",\"$\":{\"overrun\":\"never\"}}",
                "{" V "\"method\":\"a\",\"$\":{\"overrun\":1}}",
                "{" V "\"method\":\"a\",\"$\":{\"key\":1}}",
                "{" V "\"method\":\"a\",\"$\":{\"key\":\"a\\u0000\"}}",
                "{" V "\"method\":\"a\",\"$\":{\"if_id\":null}}",
                "{" V "\"method\":\"a\",\"$\":{\"fds\":17}}",
                "{" V "\"method\":\"a\",\"$\":{\"fds\":-1}}",
        };

        for (size_t i = 0; i < ELEMENTSOF(lines); i++) {
                Message m = parse(lines[i], MESSAGE_FAULT_INVALID);

                message_done(&m);
        }
}

static void parse_faults(void)
{
        static const char *const lines[] = {
                "x",
                "{",
                "{\"a\":1,\"a\":1}",
                "{" V "\"method\":\"\xff\"}",
                "{" V "\"id\":NaN,\"method\":\"a\"}",
        };

        for (size_t i = 0; i < ELEMENTSOF(lines); i++) {
                Message m = parse(lines[i], MESSAGE_FAULT_PARSE);

                CHECK(!m.root && !m.id);
        }
}

/* The id is kept only where an answer under it can't be taken for the response to something else. */
static void id_of_bad_requests(void)
{
        static const struct {
                const char *line, *id;
        } rows[] = {
                { "{" V "\"id\":7,\"method\":1}", "7" },
                { "{" V "\"id\":\"x\",\"method\":\"a\",\"params\":1}", "\"x\"" },
                { "{" V "\"id\":[7],\"method\":\"a\"}", NULL },
                { "{" V "\"id\":7}", NULL },
                { "{" V "\"id\":7,\"result\":1,\"error\":1}", NULL },
                { "{" V "\"id\":7,\"method\":\"a\",\"result\":1}", NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                Message m = parse(rows[i].line, MESSAGE_FAULT_INVALID);

                CHECK_STR(m.id ? json_print(m.id, NULL) : NULL, rows[i].id);
                CHECK(!m.id == !m.root);
                message_done(&m);
        }
}

static void extras(void)
{
        Message m = parse("{" V
                          "\"id\":1,\"method\":\"a\",\"$\":{\"ctx\":true,\"deadline_ms\":50,\"credit\":0,"
                          "\"overrun\":\"drop_oldest\",\"key\":\"k\",\"if_id\":\"i\",\"fds\":16,\"other\":{}"
                          "}}",
                        MESSAGE_OK);

        CHECK(m.ctx && m.has_deadline);
        CHECK_EQ(m.deadline_ms, 50);
        CHECK_EQ(m.credit, 0);
        CHECK_EQ(m.overrun, OVERRUN_DROP_OLDEST);
        CHECK_STR(m.key, "k");
        CHECK_STR(m.if_id, "i");
        CHECK_EQ(m.n_fds, 16);
        message_done(&m);

        m = parse("{" V "\"method\":\"a\"}", MESSAGE_OK);
        CHECK(!m.ctx && !m.has_deadline && !m.key && !m.if_id && !m.n_fds);
        CHECK_EQ(m.credit, -1);
        CHECK_EQ(m.overrun, OVERRUN_WAIT);
        message_done(&m);
}

static void limits_apply(void)
{
        static const char line[] = "{" V "\"method\":\"a\",\"params\":[1,2,3,4]}";
        const JsonLimits few = { .max_values = 5 };
        MessageFault fault;
        Message m;

        CHECK_EQ(message_parse(line, sizeof(line) - 1, &few, &m, &fault, NULL), 0);
        CHECK_EQ(fault, MESSAGE_FAULT_PARSE);
}

static void prints(Json *v, const char *text)
{
        CHECK_STR(json_print(v, NULL), text);
        json_unref(v);
}

static void next_is(Json *id, Json *value, uint64_t lost, const char *params)
{
        _cleanup_free_ char *text = NULL,
                            *wanted = xasprintf("{" V "\"method\":\"$/next\",\"params\":%s}", params);
        size_t n;

        CHECK_EQ(message_next(&text, &n, id, value, lost), 0);
        CHECK_EQ(n, strlen(wanted));
        CHECK(memcmp(text, wanted, n) == 0);
}

static void builders(void)
{
        _cleanup_json_ Json *id = json_new_string("x", SIZE_MAX);
        Json *v = NULL, *error = NULL, *data = NULL;

        CHECK_EQ(message_request(&v, id, "m", NULL), 0);
        prints(v, "{" V "\"id\":\"x\",\"method\":\"m\"}");
        CHECK_EQ(json_pack(&data, "{a:i}", 1), 0);
        CHECK_EQ(message_notification(&v, "$/x", data), 0);
        prints(v, "{" V "\"method\":\"$/x\",\"params\":{\"a\":1}}");
        CHECK_EQ(message_result(&v, id, NULL), 0);
        prints(v, "{" V "\"id\":\"x\",\"result\":null}");
        next_is(id, NULL, 0, "{\"id\":\"x\",\"value\":null}");
        next_is(id, id, 7, "{\"id\":\"x\",\"value\":\"x\",\"lost\":7}");
        next_is(NULL, NULL, UINT64_MAX, "{\"id\":null,\"value\":null,\"lost\":9223372036854775807}");
        CHECK_EQ(json_pack(&data, "{path:s}", "/a"), 0);
        CHECK_EQ(message_error_object(&error, -32004, data, "no %s", "actor"), 0);
        CHECK_EQ(message_error(&v, NULL, error), 0);
        prints(v, "{" V "\"id\":null,\"error\":{\"code\":-32004,\"message\":\"no actor\","
                  "\"data\":{\"type\":\"NoSuchActor\",\"path\":\"/a\"}}}");
        CHECK_EQ(json_pack(&data, "{type:s}", "Own"), 0);
        CHECK_EQ(message_error_object(&error, -32001, data, "%s", ""), 0);
        prints(error, "{\"code\":-32001,\"message\":\"\",\"data\":{\"type\":\"Own\"}}");
}

TEST_MAIN({ "kinds", kinds }, { "invalid", invalid }, { "parse_faults", parse_faults },
                { "id_of_bad_requests", id_of_bad_requests }, { "extras", extras },
                { "limits_apply", limits_apply }, { "builders", builders });
