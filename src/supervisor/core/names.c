/* SPDX-License-Identifier: Apache-2.0 */
#include "supervisor/core/core.h"

static const char *const node_states[_NODE_STATE_MAX] = {
        [NODE_NEW] = "new",
        [NODE_STARTING] = "starting",
        [NODE_READY] = "ready",
        [NODE_STOPPING] = "stopping",
        [NODE_DEAD] = "dead",
        [NODE_BACKOFF] = "backoff",
        [NODE_FAILED] = "failed",
};

static const char *const strategies[_STRATEGY_MAX] = {
        [STRATEGY_ONE_FOR_ONE] = "one_for_one",
        [STRATEGY_ONE_FOR_ALL] = "one_for_all",
        [STRATEGY_REST_FOR_ONE] = "rest_for_one",
        [STRATEGY_ONE_CANCELS_ALL] = "one_cancels_all",
        [STRATEGY_ONE_CANCELS_ONE] = "one_cancels_one",
};

static const char *const restart_types[_RESTART_MAX] = {
        [RESTART_PERMANENT] = "permanent",
        [RESTART_TRANSIENT] = "transient",
        [RESTART_TEMPORARY] = "temporary",
};

static const char *const give_ups[_GIVE_UP_MAX] = {
        [GIVE_UP_ESCALATE] = "escalate",
        [GIVE_UP_ISOLATE] = "isolate",
};

static const char *const auto_shutdowns[_AUTO_SHUTDOWN_MAX] = {
        [AUTO_SHUTDOWN_NEVER] = "never",
        [AUTO_SHUTDOWN_ANY_SIGNIFICANT] = "any_significant",
        [AUTO_SHUTDOWN_ALL_SIGNIFICANT] = "all_significant",
};

static const char *const exit_causes[_CAUSE_MAX] = {
        [CAUSE_NONE] = "none",
        [CAUSE_EXIT] = "exit",
        [CAUSE_SIGNAL] = "signal",
        [CAUSE_OOM] = "oom",
        [CAUSE_WATCHDOG] = "watchdog",
        [CAUSE_START_TIMEOUT] = "start-timeout",
        [CAUSE_STOP] = "stop",
        [CAUSE_SPAWN] = "spawn",
        [CAUSE_UNKNOWN] = "unknown",
};

static const char *lookup(const char *const *table, size_t n, int value)
{
        return value < 0 || (size_t) value >= n ? NULL : table[value];
}

static int search(const char *const *table, size_t n, const char *s)
{
        for (size_t i = 0; s && i < n; i++)
                if (streq(table[i], s))
                        return (int) i;
        return -1;
}

const char *node_state_to_string(NodeState s)
{
        return lookup(node_states, ELEMENTSOF(node_states), s);
}

const char *strategy_to_string(Strategy s)
{
        return lookup(strategies, ELEMENTSOF(strategies), s);
}

const char *restart_type_to_string(RestartType t)
{
        return lookup(restart_types, ELEMENTSOF(restart_types), t);
}

const char *give_up_to_string(GiveUp g)
{
        return lookup(give_ups, ELEMENTSOF(give_ups), g);
}

const char *auto_shutdown_to_string(AutoShutdown a)
{
        return lookup(auto_shutdowns, ELEMENTSOF(auto_shutdowns), a);
}

const char *exit_cause_to_string(ExitCause c)
{
        return lookup(exit_causes, ELEMENTSOF(exit_causes), c);
}

Strategy strategy_from_string(const char *s)
{
        return search(strategies, ELEMENTSOF(strategies), s);
}

RestartType restart_type_from_string(const char *s)
{
        return search(restart_types, ELEMENTSOF(restart_types), s);
}

GiveUp give_up_from_string(const char *s)
{
        return search(give_ups, ELEMENTSOF(give_ups), s);
}

AutoShutdown auto_shutdown_from_string(const char *s)
{
        return search(auto_shutdowns, ELEMENTSOF(auto_shutdowns), s);
}
