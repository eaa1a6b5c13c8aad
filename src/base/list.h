/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* An intrusive doubly linked ring. The head is a ListNode of its own; an unlinked node points at itself, so
 * unlinking twice is harmless and a destructor can always do it. */

#include "base/macro.h"

typedef struct ListNode {
        struct ListNode *next, *prev; /* weak */
} ListNode;

#define LIST_INIT(name)                                                                                     \
        {                                                                                                   \
                &(name), &(name)                                                                            \
        }

static inline void list_init(ListNode *n)
{
        n->next = n->prev = n;
}

static inline bool list_is_empty(const ListNode *n)
{
        return !n->next || n->next == n;
}

static inline void list_append(ListNode *head, ListNode *n)
{
        n->prev = head->prev;
        n->next = head;
        head->prev->next = n;
        head->prev = n;
}

static inline void list_unlink(ListNode *n)
{
        if (!n->next)
                return;
        n->next->prev = n->prev;
        n->prev->next = n->next;
        list_init(n);
}

#define LIST_ENTRY(node, type, member) container_of(node, type, member)
#define LIST_FOREACH(i, head) for (ListNode *i = (head)->next; i != (head); i = i->next)
/* Safe against removal of the current node only. */
#define LIST_FOREACH_SAFE(i, head)                                                                          \
        for (ListNode *i = (head)->next, *i##_next = i->next; i != (head); i = i##_next, i##_next = i->next)
