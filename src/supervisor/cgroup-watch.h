/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Tells when cgroups become empty, and when something happened to their memory. One inotify descriptor for all of them.
 *
 * A watch for emptiness looks at cgroup.events when it is made and whenever the kernel says that the file changed or
 * went, fires once and is quiet from then on. It never fires from within cgroup_watch_new(), also when there is nothing
 * to wait for. Where another program removes the directories (systemd), a slow second look makes up for an event lost
 * to the removal.
 *
 * A watch for memory fires whenever memory.events has changed, about a hundred times a second at most, as the kernel
 * bounds it, and looks at nothing itself. It gives way where the user's watches are used up by those of the first kind. */

#include <systemd/sd-event.h>

#include "base/macro.h"

typedef struct CgroupWatcher CgroupWatcher;
typedef struct CgroupWatch CgroupWatch;

/* `root` is borrowed. recheck_usec: how often to look anyhow while there are watches; 0: never. */
int cgroup_watcher_new(sd_event *event, int root, uint64_t recheck_usec, CgroupWatcher **ret);
CgroupWatcher *cgroup_watcher_free(CgroupWatcher *w); /* no watch may be left */

/* In the call-back the watch and any other may be freed. */
int cgroup_watch_new(CgroupWatcher *w, const char *path, void (*emptied)(void *userdata), void *userdata,
                CgroupWatch **ret);
/* -ENOENT: no such cgroup, or none whose memory is accounted for. */
int cgroup_watch_memory(CgroupWatcher *w, const char *path, void (*changed)(void *userdata), void *userdata,
                CgroupWatch **ret);
CgroupWatch *cgroup_watch_free(CgroupWatch *watch);
