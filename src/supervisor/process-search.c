/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/io.h"
#include "base/usec.h"
#include "supervisor/proc.h"
#include "supervisor/process-search.h"

/* Passes of a search that is disturbed by processes that end during it, or of a kill that races with fork. */
#define PASSES_MAX 16

typedef struct Candidate {
        int pid;
        bool ours;
} Candidate;

int pidfd_signal(int pidfd, int signo)
{
        return syscall(SYS_pidfd_send_signal, pidfd, signo, NULL, 0) < 0 ? -errno : 0;
}

/* A zombie has ended. */
bool pidfd_ended(int pidfd)
{
        struct pollfd p = { .fd = pidfd, .events = POLLIN };

        return poll(&p, 1, 0) > 0;
}

/* --- the search --- */

static void search_reset(Search *s)
{
        for (size_t i = 0; i < s->n; i++)
                safe_close(s->found[i].pidfd);
        s->n = s->queue_n = 0;
        s->disturbed = false;
        s->unknown = 0;
}

void search_done(Search *s)
{
        search_reset(s);
        pid_list_done(&s->ended);
        free(s->found);
        free(s->queue);
}

static int enqueue(Search *s, int pid, bool ours)
{
        if (GROW(s->queue, s->queue_cap, s->queue_n + 1) < 0)
                return -ENOMEM;
        s->queue[s->queue_n++] = (Candidate){ .pid = pid, .ours = ours };
        return 0;
}

/* By its environment or session; what shows neither may be ours for all we know. */
static bool is_ours(Search *s, const Room *room, const ProcStat *stat)
{
        char id[ACTOR_ID_LIMIT];
        int r;

        if (s->session_valid && stat->session == room->pid)
                return true;
        r = proc_environ(stat->pid, ACTOR_ID_VARIABLE, id, sizeof(id));
        if (r == -ENODATA || r == -EACCES || r == -EPERM)
                s->unknown++;
        return r > 0 && streq(id, room->actor_id);
}

static int keep(Search *s, const ProcStat *stat, int *pidfd)
{
        if (GROW(s->found, s->cap, s->n + 1) < 0)
                return -ENOMEM;
        s->found[s->n++] = (Found){ .pid = stat->pid, .session = stat->session, .pidfd = TAKE_FD(*pidfd) };
        return 0;
}

/* One that ended after its parent was asked for children may have left its own to the keeper, after the keeper was
 * asked: only the next pass finds them. */
static int note_ended(Search *s, int pid)
{
        for (size_t i = 0; i < s->ended.n; i++)
                if (s->ended.pids[i] == pid)
                        return 0;
        s->disturbed = true;
        return pid_list_add(&s->ended, pid);
}

/* Looks at one process and adds its children to the queue. */
static int examine(Search *s, const Room *room, Candidate c)
{
        _cleanup_close_ int pidfd = (int) syscall(SYS_pidfd_open, c.pid, 0);
        _cleanup_(pid_list_done) PidList children = { 0 };
        ProcStat stat;
        int r;

        if (pidfd < 0 && errno != ESRCH)
                return -errno;
        if (pidfd < 0 || proc_stat(c.pid, &stat) < 0) {
                s->disturbed = true;
                return 0;
        }
        if (pidfd_ended(pidfd))
                return note_ended(s, c.pid);
        c.ours = c.ours || is_ours(s, room, &stat);
        r = proc_children(c.pid, &children);
        if (r == -ENOMEM)
                return r;
        if (pidfd_ended(pidfd)) {
                s->disturbed = true;
                return 0;
        }
        for (size_t i = 0; i < children.n; i++)
                if (enqueue(s, children.pids[i], c.ours) < 0)
                        return -ENOMEM;
        return c.ours ? keep(s, &stat, &pidfd) : 0;
}

/* Kernels without lists of children: the parent is asked for of everyone. */
static int children_by_parent(int parent, PidList *l)
{
        _cleanup_(pid_list_done) PidList all = { 0 };
        ProcStat stat;
        int r;

        r = proc_list(&all);
        for (size_t i = 0; r >= 0 && i < all.n; i++)
                if (proc_stat(all.pids[i], &stat) >= 0 && stat.ppid == parent)
                        r = pid_list_add(l, all.pids[i]);
        return r;
}

static int compare_pids(const void *a, const void *b)
{
        return *(const int *) a - *(const int *) b;
}

/* The kernel may pass over a child when the one before it in the list is reaped while it is read: two readings
 * would have to pass over the same one. */
static int list_children(int parent, PidList *l)
{
        size_t n = 0;
        int r;

        r = proc_children(parent, l);
        if (r >= 0)
                r = proc_children(parent, l);
        if (r == -EOPNOTSUPP)
                r = children_by_parent(parent, l);
        if (r < 0 || l->n == 0)
                return r;
        qsort(l->pids, l->n, sizeof(int), compare_pids);
        for (size_t i = 0; i < l->n; i++)
                if (n == 0 || l->pids[n - 1] != l->pids[i])
                        l->pids[n++] = l->pids[i];
        l->n = n;
        return 0;
}

static bool is_awaited(const Room *room, int pid)
{
        LIST_FOREACH(n, &room->awaited)
                if (LIST_ENTRY(n, Straggler, node)->process.pid == pid)
                        return true;
        return false;
}

/* Where to begin: the main process, those awaited already, and the keeper's children that are nobody's main process. */
static int enqueue_roots(Search *s, const Room *room)
{
        _cleanup_(pid_list_done) PidList children = { 0 };
        int self = getpid(), r;

        if (room->keeper_pid == 0)
                return enqueue(s, room->pid, true);
        r = list_children(room->keeper_pid, &children);
        for (size_t i = 0; r >= 0 && i < children.n; i++) {
                int pid = children.pids[i];

                if (pid == self || (pid != room->pid && map_get_u64(room->mains, (uint64_t) pid)))
                        continue;
                r = enqueue(s, pid, pid == room->pid || is_awaited(room, pid));
        }
        return r;
}

/* While the main process is a zombie, or one of its session lives, its number can't be given away. */
static bool session_is_valid(const Room *room)
{
        if (room->pid == 0)
                return false;
        if (pidfd_signal(room->pidfd, 0) != -ESRCH)
                return true;
        LIST_FOREACH(n, &room->awaited) {
                const Found *f = &LIST_ENTRY(n, Straggler, node)->process;

                if (f->session == room->pid && !pidfd_ended(f->pidfd))
                        return true;
        }
        return false;
}

static int search_once(Search *s, const Room *room)
{
        int r;

        search_reset(s);
        s->session_valid = session_is_valid(room);
        r = room->pid > 0 && pidfd_ended(room->pidfd) ? note_ended(s, room->pid) : 0;
        s->disturbed = false;
        if (r >= 0)
                r = enqueue_roots(s, room);
        for (size_t i = 0; r >= 0 && i < s->queue_n; i++)
                r = examine(s, room, s->queue[i]);
        return r;
}

int search_room(Search *s, const Room *room)
{
        int r = -ESRCH;

        for (int i = 0; room->actor_id && i < PASSES_MAX; i++) {
                r = search_once(s, room);
                if (r < 0 || !s->disturbed)
                        return r;
        }
        return r;
}

/* --- nobody at all --- */

static bool pids_have(const PidList *l, int pid)
{
        for (size_t i = 0; i < l->n; i++)
                if (l->pids[i] == pid)
                        return true;
        return false;
}

/* Zombies that wait for the keeper are held by their descriptors meanwhile, so that their numbers name them alone. */
typedef struct Ended {
        PidList pids, fds;
} Ended;

static void ended_done(Ended *e)
{
        close_many(e->fds.pids, e->fds.n);
        pid_list_done(&e->pids);
        pid_list_done(&e->fds);
}

/* Every actor begins a session, and nobody comes back to that of its forebears: what is of the keeper's is its spawner,
 * or a child that has not taken its first steps yet. */
static bool is_keepers(int keeper_pid, int pid)
{
        pid_t session = getsid(pid);

        return session >= 0 && session == getsid(keeper_pid);
}

/* 1: it has ended, and is noted as such; 2: it lives and is nobody's; 0: it lives. */
static int note_if_ended(Ended *e, int keeper_pid, int pid)
{
        _cleanup_close_ int fd = (int) syscall(SYS_pidfd_open, pid, 0);
        bool nobodys;
        int r;

        if (fd < 0)
                return errno == ESRCH ? 1 : -errno;
        nobodys = is_keepers(keeper_pid, pid);
        if (!pidfd_ended(fd))
                return nobodys ? 2 : 0;
        r = pid_list_add(&e->pids, pid);
        if (r >= 0)
                r = pid_list_add(&e->fds, fd);
        if (r < 0)
                return r;
        TAKE_FD(fd);
        return 1;
}

/* 1: none; 0: there are; -EAGAIN: some have ended, and may have left theirs to the keeper since it was asked.
 *
 * The kernel passes over a child only when one that it has listed before is reaped while it lists. The keeper reaps
 * what we have acknowledged, which are in `mains` no more, and orphans: when the list holds neither, nothing can have
 * been passed over. Else it is read twice, as ever. */
static int pass_for_stragglers(int keeper_pid, const Map *mains, Ended *ended, bool twice)
{
        _cleanup_(pid_list_done) PidList children = { 0 };
        int self = getpid(), result = 1, r;

        r = twice ? list_children(keeper_pid, &children) : proc_children(keeper_pid, &children);
        for (size_t i = 0; r >= 0 && i < children.n; i++) {
                int pid = children.pids[i];

                if (pid == self || map_get_u64(mains, (uint64_t) pid) || pids_have(&ended->pids, pid))
                        continue;
                r = note_if_ended(ended, keeper_pid, pid);
                if (r == 0)
                        return 0;
                if (r == 1)
                        result = -EAGAIN;
        }
        return r < 0 ? r : result;
}

int search_no_stragglers(int keeper_pid, const Map *mains)
{
        _cleanup_(ended_done) Ended ended = { 0 };
        int r = -EAGAIN;

        for (int i = 0; i < 4 && r == -EAGAIN; i++)
                r = pass_for_stragglers(keeper_pid, mains, &ended, i > 0);
        return r > 0;
}

/* --- what is done to those found --- */

int room_signal(const Room *room, int signo)
{
        _cleanup_(search_done) Search s = { 0 };
        int r;

        r = search_room(&s, room);
        if (r < 0)
                return r;
        for (size_t i = 0; i < s.n; i++) {
                int k = pidfd_signal(s.found[i].pidfd, signo);

                if (k < 0 && k != -ESRCH)
                        r = k;
        }
        return r;
}

static bool search_has(const Search *s, int pid)
{
        for (size_t i = 0; i < s->n; i++)
                if (s->found[i].pid == pid)
                        return true;
        return false;
}

/* Who has a signal pending that ends it forks no more: when a search finds only those who got it, all have it. The
 * descriptors of the last search are held during the next, so that a number can't mean two processes. */
int room_signal_all(const Room *room, int signo)
{
        _cleanup_(search_done) Search before = { 0 };
        int r = 0;

        for (int i = 0; i < PASSES_MAX; i++) {
                _cleanup_(search_done) Search now = { 0 };
                Search swap;
                bool fresh = false;

                r = search_room(&now, room);
                if (r < 0)
                        return r;
                for (size_t k = 0; k < now.n; k++) {
                        if (search_has(&before, now.found[k].pid))
                                continue;
                        fresh = true;
                        (void) pidfd_signal(now.found[k].pidfd, signo);
                }
                if (!fresh)
                        return 0;
                swap = before;
                before = now;
                now = swap;
        }
        return r;
}

/* Stopped first: when a parent ends, its children have another before the next look at them. */
int kill_descent(int pid, int pidfd)
{
        char no_id[] = "";
        Room room = { .actor_id = no_id, .pid = pid, .pidfd = pidfd };
        int r;

        list_init(&room.awaited);
        r = room_signal_all(&room, SIGSTOP);
        if (r >= 0)
                r = room_signal(&room, SIGKILL);
        return r < 0 ? pidfd_signal(pidfd, SIGKILL) : r;
}

/* --- the keeper is gone, or another supervisor is --- */

typedef struct Mark {
        int pid, ppid;
        uint64_t start_ticks;
        bool ours;
} Mark;

/* Whom to end: those of the maps, or else those below the keeper. */
typedef struct Whom {
        const Map *mains, *ids;
        int keeper_pid;
} Whom;

static bool is_meant(const Whom *whom, const ProcStat *stat)
{
        char id[ACTOR_ID_LIMIT];

        if (!whom->mains)
                return stat->ppid == whom->keeper_pid;
        return map_get_u64(whom->mains, (uint64_t) stat->session) ||
               (proc_environ(stat->pid, ACTOR_ID_VARIABLE, id, sizeof(id)) > 0 && map_get(whom->ids, id));
}

static void mark_one(const Whom *whom, int pid, Mark *m)
{
        ProcStat stat;

        *m = (Mark){ .pid = pid };
        if (pid == getpid() || pid == 1 || proc_stat(pid, &stat) < 0 || stat.state == 'Z')
                return;
        m->ppid = stat.ppid;
        m->start_ticks = stat.start_ticks;
        m->ours = is_meant(whom, &stat);
}

/* Whose parent is ours is ours. Marks are sorted by pid, which is their first member. */
static bool spread(Mark *marks, size_t n)
{
        bool changed = false;

        for (size_t i = 0; i < n; i++) {
                const Mark *parent;

                if (marks[i].ours || marks[i].ppid <= 1)
                        continue;
                parent = bsearch(&marks[i].ppid, marks, n, sizeof(Mark), compare_pids);
                if (parent && parent->ours)
                        marks[i].ours = changed = true;
        }
        return changed;
}

/* Started when the one we marked was started: it is that one. */
static bool kill_marked(const Mark *m)
{
        _cleanup_close_ int pidfd = (int) syscall(SYS_pidfd_open, m->pid, 0);
        ProcStat stat;

        if (pidfd < 0 || proc_stat(m->pid, &stat) < 0 || stat.start_ticks != m->start_ticks)
                return false;
        return !pidfd_ended(pidfd) && pidfd_signal(pidfd, SIGKILL) >= 0;
}

static bool kill_pass(const Whom *whom)
{
        _cleanup_(pid_list_done) PidList all = { 0 };
        _cleanup_free_ Mark *marks = NULL;
        bool any = false;

        if (proc_list(&all) < 0 || all.n == 0)
                return false;
        marks = calloc(all.n, sizeof(Mark));
        if (!marks)
                return false;
        for (size_t i = 0; i < all.n; i++)
                mark_one(whom, all.pids[i], &marks[i]);
        qsort(marks, all.n, sizeof(Mark), compare_pids);
        while (spread(marks, all.n))
                ;
        for (size_t i = 0; i < all.n; i++)
                if (marks[i].ours && kill_marked(&marks[i]))
                        any = true;
        return any;
}

static void kill_until_none(const Whom *whom, uint64_t timeout_usec)
{
        uint64_t deadline = usec_add(now_usec(CLOCK_MONOTONIC), timeout_usec);

        while (kill_pass(whom) && now_usec(CLOCK_MONOTONIC) < deadline)
                (void) usleep(2000); /* until those killed have ended */
}

void kill_everywhere(const Map *mains, const Map *ids, uint64_t timeout_usec)
{
        kill_until_none(&(Whom){ .mains = mains, .ids = ids }, timeout_usec);
}

void kill_below(int keeper_pid, uint64_t timeout_usec)
{
        kill_until_none(&(Whom){ .keeper_pid = keeper_pid }, timeout_usec);
}
