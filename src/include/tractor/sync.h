/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What tasks of one process tell and leave each other (after trio's). Waiters are served in the order
 * they came, and whoever is cancelled after it was served keeps what it has: nothing gets lost. Only what
 * may wait is a checkpoint; the rest may also be called from callbacks of the loop, but for a lock's,
 * which belongs to a task. Who waits at one that is freed gets -EBADF. */

#include <tractor/macros.h>

TRACTOR_BEGIN_DECLS

/* --- an event: it has happened or it has not, and that stays --- */
typedef struct tractor_event tractor_event;
tractor_event *tractor_event_new(void); /* NULL: out of memory */
tractor_event *tractor_event_free(tractor_event *e);
void tractor_event_set(tractor_event *e);
bool tractor_event_is_set(const tractor_event *e);
int tractor_event_wait(tractor_event *e);

/* --- a lock: one task at a time; a task that ends with it leaves it locked for ever --- */
typedef struct tractor_lock tractor_lock;
tractor_lock *tractor_lock_new(void);
tractor_lock *tractor_lock_free(tractor_lock *l);
int tractor_lock_acquire(tractor_lock *l);     /* -EDEADLK: the task has it already */
int tractor_lock_try_acquire(tractor_lock *l); /* -EAGAIN: another task has it; no checkpoint */
int tractor_lock_release(tractor_lock *l);     /* -EPERM: the running task has it not */

/* --- a semaphore --- */
typedef struct tractor_semaphore tractor_semaphore;
tractor_semaphore *tractor_semaphore_new(unsigned value);
tractor_semaphore *tractor_semaphore_free(tractor_semaphore *s);
int tractor_semaphore_acquire(tractor_semaphore *s);
int tractor_semaphore_try_acquire(tractor_semaphore *s); /* -EAGAIN */
int tractor_semaphore_release(tractor_semaphore *s);     /* -EOVERFLOW */

/* --- a memory channel: pointers from task to task, `size` of them in between (0: hand to hand) --- */
typedef struct tractor_channel tractor_channel;
/* `destroy` (may be NULL) is called for what is still in it when it is freed. */
tractor_channel *tractor_channel_new(size_t size, void (*destroy)(void *item));
tractor_channel *tractor_channel_free(tractor_channel *c);
int tractor_channel_send(tractor_channel *c,
                void *item); /* -EPIPE: closed. On failure the item stays the caller's. */
int tractor_channel_try_send(tractor_channel *c, void *item);    /* -EAGAIN: no room; no checkpoint */
int tractor_channel_receive(tractor_channel *c, void **ret);     /* 1; 0: closed and empty */
int tractor_channel_try_receive(tractor_channel *c, void **ret); /* the same; -EAGAIN: empty */
/* No more sends, those that wait fail; what is in it can still be received. Again is harmless. */
void tractor_channel_close(tractor_channel *c);
size_t tractor_channel_length(const tractor_channel *c);

TRACTOR_END_DECLS
