/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The requests that carried a key (docs/protocol.md §2 `key`) and what they came to: one table of (owner, key) →
 * what was asked, and its answer once there is one. Pure: no clock, no socket. An owner's keys are its own, so nobody
 * is told another's answers. What is bounded: entries, an owner's entries, bytes of answers. The answered ones make
 * room, the least recently used first; one whose answer is still due is never given up, and where all are such, a
 * newcomer is refused. */

#include "base/list.h"
#include "base/map.h"

#define REMEMBER_KEY_MAX 128
#define REMEMBER_PER_OWNER 64
#define REMEMBER_MAX 1024
#define REMEMBER_BYTES_MAX (8U * 1024 * 1024)
/* One answer, so that it fits a record of the keeper's; a longer one is not kept, but that it was given. */
#define REMEMBER_ANSWER_MAX (24U * 1024)
#define REMEMBER_KEPT_USEC (10ULL * 60 * 1000 * 1000)

typedef struct Remembered {
        ListNode all;                /* in table->all */
        char *owner, *name, *method; /* the name is "OWNER KEY" */
        const char *key;             /* within it */
        uint64_t digest;             /* of all that was asked */
        uint64_t usec;               /* when it was asked; when it was answered */
        bool answered, is_error;
        bool with_fds; /* descriptors came with the answer */
        char *answer;  /* JSON: the result or error object; NULL: was not kept */
        size_t size;

        uint64_t record; /* the rest is the user's: its number with the keeper */
        void *userdata;
} Remembered;

typedef struct RememberTable {
        Map map;
        ListNode all; /* the least recently used first */
        size_t bytes; /* of answers */
        /* Room was needed: the last use of e. */
        void (*on_forget)(Remembered *e, void *userdata);
        void *userdata;
} RememberTable;

void remember_table_init(RememberTable *t, void (*on_forget)(Remembered *e, void *userdata), void *userdata);
/* Frees all that is left, without on_forget. */
void remember_table_clear(RememberTable *t);

/* FNV-1a, begun with REMEMBER_HASH_START, of what was asked. */
#define REMEMBER_HASH_START 0xcbf29ce484222325ULL
uint64_t remember_hash(uint64_t h, const char *p, size_t n);
/* 1 to REMEMBER_KEY_MAX printable ASCII characters. */
bool remember_key_is_valid(const char *key);
Remembered *remember_table_get(const RememberTable *t, const char *owner, const char *key);
/* A new one, unanswered. Drops what was answered longer ago than it has to be kept, and more as room is needed.
 * -EDQUOT: all the room is held by such as have no answer yet; -EEXIST, -ENOMEM. `owner` has no blanks. */
int remember_table_add(RememberTable *t, const char *owner, const char *key, const char *method,
                uint64_t digest, uint64_t now, Remembered **ret);
/* Consumes `answer`, of `size` bytes; NULL and 0: there is none that can be told again. */
void remember_table_answer(
                RememberTable *t, Remembered *e, char *answer, size_t size, bool is_error, uint64_t now);
/* It was asked for again: the last to make room from now on. */
void remember_table_use(RememberTable *t, Remembered *e);
void remember_table_drop(RememberTable *t, Remembered *e); /* without on_forget */
