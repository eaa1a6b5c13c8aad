/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <sys/epoll.h>

#include "base/io.h"
#include "base/log.h"
#include "child/spec.h"
#include "keeper/keeper.h"

int entry_acquire(Keeper *k, uint64_t key, Entry **ret)
{
        Entry *e = map_get_u64(&k->entries, key);
        int r;

        if (e) {
                *ret = e;
                return 0;
        }
        if (key == 0 || k->entries.n >= KEEPER_ENTRIES_MAX)
                return key == 0 ? -EINVAL : -EDQUOT;
        e = calloc(1, sizeof(Entry));
        if (!e)
                return -ENOMEM;
        r = map_put_u64(&k->entries, key, e);
        if (r < 0) {
                free(e);
                return r;
        }
        *e = (Entry){ .keeper = k, .key = key, .pidfd = -EBADF, .setup_fd = -EBADF };
        list_append(&k->all, &e->all);
        k->next_key = MAX(k->next_key, key + 1);
        *ret = e;
        return 0;
}

static void drop_record(Entry *e)
{
        e->keeper->record_bytes -= e->record_size;
        close_many(e->fds, e->n_fds);
        free(TAKE_PTR(e->record));
        e->record_size = e->n_fds = 0;
        e->stored = false;
}

static void entry_free(Entry *e)
{
        drop_record(e);
        (void) map_remove_u64(&e->keeper->entries, e->key);
        if (e->pid > 0 && map_get_u64(&e->keeper->children, (uint64_t) e->pid) == e)
                (void) map_remove_u64(&e->keeper->children, (uint64_t) e->pid);
        list_unlink(&e->all);
        list_unlink(&e->pending);
        list_unlink(&e->zombies);
        list_unlink(&e->asked);
        sd_event_source_disable_unref(e->pidfd_source);
        sd_event_source_disable_unref(e->setup_source);
        safe_close(e->pidfd);
        safe_close(e->setup_fd);
        free(e);
}

void entry_settle(Entry *e)
{
        if (e->state == KEEPER_CHILD_NONE && !e->stored && e->due == 0)
                entry_free(e);
}

/* Takes the descriptors on success. */
int keeper_store(Keeper *k, uint64_t key, const void *record, size_t size, int *fds, size_t n_fds)
{
        _cleanup_free_ void *copy = NULL;
        Entry *e;
        int r;

        if (size > KEEPER_RECORD_MAX || n_fds > KEEPER_FDS_MAX)
                return -E2BIG;
        r = entry_acquire(k, key, &e);
        if (r < 0)
                return r;
        copy = malloc(MAX(size, (size_t) 1));
        if (!copy || k->record_bytes - e->record_size + size > KEEPER_RECORDS_MAX) {
                entry_settle(e);
                return copy ? -EDQUOT : -ENOMEM;
        }
        memcpy(copy, record, size);
        drop_record(e);
        e->stored = true;
        e->record = TAKE_PTR(copy);
        e->record_size = size;
        k->record_bytes += size;
        for (; e->n_fds < n_fds; e->n_fds++)
                e->fds[e->n_fds] = TAKE_FD(fds[e->n_fds]);
        return 0;
}

void entry_forget(Entry *e)
{
        drop_record(e);
        entry_settle(e);
}

static int transmit(Keeper *k, const void *p, size_t n, const int *fds, size_t n_fds)
{
        ssize_t r = send_fds(k->supervisor.fd, p, n, fds, n_fds, MSG_DONTWAIT);

        return r < 0 ? (int) r : 0;
}

static int send_entry(Entry *e)
{
        static union {
                KeeperEntry m;
                uint8_t bytes[sizeof(KeeperEntry) + KEEPER_RECORD_MAX];
        } out;
        int fds[KEEPER_FDS_MAX + 1];
        size_t n_fds = 0;

        out.m = (KeeperEntry){
                .header = KEEPER_HEADER(KeeperEntry, KEEPER_ENTRY, e->key),
                .child_state = list_is_empty(&e->asked) ? e->state : KEEPER_CHILD_NONE,
                .pid = e->pid,
                .exit = e->exit,
                .record_size = (uint32_t) e->record_size,
                .n_stored_fds = (uint32_t) e->n_fds,
                .setup_error = e->error,
                .setup_step = e->step,
        };
        if (e->record_size > 0)
                memcpy(out.bytes + sizeof(KeeperEntry), e->record, e->record_size);
        if (e->pidfd >= 0)
                fds[n_fds++] = e->pidfd;
        memcpy(fds + n_fds, e->fds, e->n_fds * sizeof(int));
        return transmit(e->keeper, &out, sizeof(KeeperEntry) + e->record_size, fds, n_fds + e->n_fds);
}

static int send_spawned(Keeper *k, uint64_t key, pid_t pid, int pidfd, int error)
{
        KeeperSpawned m = { .header = KEEPER_HEADER(m, KEEPER_SPAWNED, key),
                .pid = pid,
                .error = error,
                .step = SPAWN_STEP_CLONE };

        return transmit(k, &m, sizeof(m), &pidfd, pidfd >= 0 ? 1 : 0);
}

/* Sends the first thing the entry owes. */
static int send_due(Entry *e)
{
        Keeper *k = e->keeper;
        KeeperSetup setup = { KEEPER_HEADER(setup, KEEPER_SETUP, e->key), e->error, e->step };
        KeeperExited exited = { KEEPER_HEADER(exited, KEEPER_EXITED, e->key), e->pid, 0, e->exit };
        unsigned first = e->due & -e->due;
        int r = first == DUE_ENTRY     ? send_entry(e)
                : first == DUE_SPAWNED ? send_spawned(k, e->key, e->pid, e->pidfd, e->spawn_error)
                : first == DUE_SETUP   ? transmit(k, &setup, sizeof(setup), NULL, 0)
                                       : transmit(k, &exited, sizeof(exited), NULL, 0);

        if (r < 0)
                return r;
        e->due &= first == DUE_ENTRY ? 0 : ~first; /* an entry tells all there is */
        if (e->due == 0) {
                list_unlink(&e->pending);
                entry_settle(e);
        }
        return 0;
}

static int send_welcome(Keeper *k)
{
        KeeperWelcome m = {
                .header = KEEPER_HEADER(m, KEEPER_WELCOME, 0),
                .flags = (k->embedded ? KEEPER_EMBEDDED : 0U) | (k->ready_sent ? KEEPER_SUCCESSOR : 0U),
                .n_entries = (uint32_t) k->entries.n,
                .start_usec = k->start_usec,
                .keeper_pid = k->pid,
                .owner_pid = k->owner_pid,
                .next_key = k->next_key,
        };

        return transmit(k, &m, sizeof(m), NULL, 0);
}

static int send_first(Keeper *k)
{
        KeeperSimple end = { KEEPER_HEADER(end, KEEPER_TABLE_END, 0) };
        ListNode *n = k->pending.next;
        int r;

        if (n != &k->welcome && n != &k->table_end)
                return send_due(LIST_ENTRY(n, Entry, pending));
        r = n == &k->welcome ? send_welcome(k) : transmit(k, &end, sizeof(end), NULL, 0);
        if (r >= 0)
                list_unlink(n);
        return r;
}

/* What can't go now waits for the socket to drain; for want of memory or of room for descriptors in flight, until
 * the next message comes from the supervisor, which is one BEAT away at most. */
void keeper_flush(Keeper *k)
{
        bool blocked;
        int r = 0;

        while (k->supervisor.hello && r >= 0 && !list_is_empty(&k->pending))
                r = send_first(k);
        blocked = r == -EAGAIN;
        if (blocked != k->supervisor.blocked && sd_event_source_set_io_events(k->supervisor.fd_source,
                                                                EPOLLIN | (blocked ? EPOLLOUT : 0)) >= 0)
                k->supervisor.blocked = blocked;
}

void entry_tell(Entry *e, Due due)
{
        Keeper *k = e->keeper;

        if (k->supervisor.hello) {
                e->due |= due;
                if (list_is_empty(&e->pending))
                        list_append(&k->pending, &e->pending);
                keeper_flush(k);
        } else {
                entry_settle(e);
        }
}

void keeper_refuse(Keeper *k, uint64_t key, int error)
{
        log_warning("spawn for key %" PRIu64 " refused: %s", key, strerror(-error));
        if (k->supervisor.hello)
                (void) send_spawned(k, key, 0, -EBADF, error);
}

void keeper_hello(Keeper *k)
{
        keeper_owe_nothing(k);
        k->supervisor.hello = true;
        list_append(&k->pending, &k->welcome);
        LIST_FOREACH(i, &k->all) {
                Entry *e = LIST_ENTRY(i, Entry, all);

                e->due = DUE_ENTRY;
                list_append(&k->pending, &e->pending);
        }
        list_append(&k->pending, &k->table_end);
        keeper_flush(k);
}

void keeper_owe_nothing(Keeper *k)
{
        list_unlink(&k->welcome);
        list_unlink(&k->table_end);
        LIST_FOREACH_SAFE(i, &k->pending) {
                Entry *e = LIST_ENTRY(i, Entry, pending);

                e->due = 0;
                list_unlink(&e->pending);
                entry_settle(e);
        }
}

void keeper_clear(Keeper *k)
{
        LIST_FOREACH_SAFE(i, &k->all)
                entry_free(LIST_ENTRY(i, Entry, all));
        assert(k->entries.n == 0 && k->children.n == 0 && k->record_bytes == 0);
        map_clear(&k->entries);
        map_clear(&k->children);
}
