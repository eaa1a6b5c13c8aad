/* SPDX-License-Identifier: Apache-2.0 */
#include "libtractor/crash-hooks.h"
#include "libtractor/runtime.h"

static const char *current_name(void)
{
        const Task *t = task_current();

        return t ? t->name : NULL;
}

const CrashHooks runtime_crash_hooks = { .task_name = current_name,
        .is_stack_guard = runtime_is_stack_guard };
