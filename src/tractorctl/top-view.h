/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What `top` shows: a sample of the tree's usage, one row a node, sorted, as a table or as JSON. CPU is a share of one
 * processor's time since the sample before, so that two samples are needed for it. What is not counted on a machine is
 * unknown, not zero, and comes last whatever the order. Pure. */

#include "tractorctl/text.h"
#include "wire/json.h"

typedef enum TopOrder {
        TOP_CPU,
        TOP_MEMORY,
        TOP_TASKS,
        TOP_PRESSURE,
        TOP_RESTARTS,
        _TOP_ORDER_MAX,
} TopOrder;

typedef struct TopRow {
        char *path, *id;
        const Json *node;             /* of the sample */
        double value[_TOP_ORDER_MAX]; /* negative: unknown */
        int64_t cpu_usec;
} TopRow;

typedef struct TopSample {
        Json *tree;
        uint64_t usec;
        TopRow *rows;
        size_t n, cap;
} TopSample;

/* Consumes tree, on failure too. `before` may be NULL. */
int top_sample_init(TopSample *s, Json *tree, uint64_t usec, const TopSample *before);
void top_sample_done(TopSample *s);
/* The largest first; what is equal by path. */
void top_sort(TopSample *s, TopOrder order);

/* Rows [first, first + n) of it; `selected` (a path, or NULL) is marked on a terminal. */
int top_view_table(const TopSample *s, size_t first, size_t n, const char *selected, const Style *style,
                Table *ret);
int top_view_json(const TopSample *s, Json **ret);
/* Is anything known to sort by? A column that is empty is not shown. */
bool top_has(const TopSample *s, TopOrder order);
/* The keys that do something; the caller frees. NULL: out of memory. */
char *top_view_footer(const TopSample *s);
const char *top_order_name(TopOrder order);

typedef enum TopKey {
        TOP_KEY_NONE, /* nothing it knows */
        TOP_KEY_QUIT,
        TOP_KEY_ORDER, /* + TopOrder */
        TOP_KEY_UP = TOP_KEY_ORDER + _TOP_ORDER_MAX,
        TOP_KEY_DOWN,
        TOP_KEY_PAGE_UP,
        TOP_KEY_PAGE_DOWN,
        TOP_KEY_HOME,
        TOP_KEY_END,
} TopKey;

/* The first key of what a terminal sent; *ret_n is the number of its bytes. n > 0. */
TopKey top_key(const char *p, size_t n, size_t *ret_n);
