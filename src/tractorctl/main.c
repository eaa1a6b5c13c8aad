/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <locale.h>
#include <signal.h>

#include "base/log.h"
#include "tractorctl/context.h"

static int (*const verbs[_VERB_BUILT_MAX])(Context *c) = {
        [VERB_RUN] = verb_run,
        [VERB_STATUS] = verb_status,
        [VERB_TREE] = verb_tree,
        [VERB_LIST] = verb_list,
        [VERB_LOAD] = verb_load,
        [VERB_APPLY] = verb_apply,
        [VERB_UNLOAD] = verb_on_paths,
        [VERB_VALIDATE] = verb_validate,
        [VERB_SPAWN] = verb_spawn,
        [VERB_CANCEL] = verb_on_paths,
        [VERB_KILL] = verb_on_paths,
        [VERB_RESTART] = verb_on_paths,
        [VERB_START] = verb_on_paths,
        [VERB_FREEZE] = verb_on_paths,
        [VERB_THAW] = verb_on_paths,
        [VERB_SET_LIMIT] = verb_set_limit,
        [VERB_EVENTS] = verb_events,
        [VERB_TOP] = verb_top,
        [VERB_LOGS] = verb_logs,
        [VERB_FIND] = verb_find,
        [VERB_WAIT] = verb_wait,
        [VERB_CALL] = verb_call,
        [VERB_TELL] = verb_tell,
        [VERB_STREAM] = verb_stream,
        [VERB_TASKS] = verb_tasks,
        [VERB_BRIDGE] = verb_bridge,
        [VERB_PING] = verb_ping,
        [VERB_VERSION] = verb_version,
        [VERB_HELP] = verb_help,
};

static int dispatch(Context *c)
{
        int r;

        if (c->o->help || c->o->verb == VERB_HELP)
                return verb_help(c);
        if (c->o->verb == VERB_UNBUILT)
                return fail_unbuilt(c);
        r = sd_event_new(&c->event);
        return r < 0 ? fail_errno(c, r) : verbs[c->o->verb](c);
}

/* Output that couldn't be written is a failure, unless there was one already. */
static int finish(const Context *c, int code)
{
        bool bad = ferror(stdout) != 0;

        if ((fflush(stdout) != 0 || bad) && code == CTL_DONE && errno != EPIPE)
                return fail(c, CTL_FAILED, "can't write the output: %s; check what it goes to",
                                strerror(errno));
        return code;
}

/* So that a shell that waits for us ends its loop, too. */
static void end_by_signal(Context *c)
{
        int signo = c->signo;
        sigset_t set;

        context_done(c);
        (void) signal(signo, SIG_DFL);
        (void) sigemptyset(&set);
        (void) sigaddset(&set, signo);
        (void) raise(signo);
        (void) sigprocmask(SIG_UNBLOCK, &set, NULL);
}

int main(int argc, char **argv)
{
        _cleanup_(options_done) Options o = { .verb = _VERB_INVALID };
        _cleanup_(context_done) Context c = { .o = &o };
        _cleanup_free_ char *error = NULL;
        int r;

        (void) setlocale(LC_ALL, "");
        log_setup("tractorctl", LOG_WARNING);
        style_of_stdout(&c.style);
        if (!c.style.terminal) /* a pipe gets the text as it is, whatever the terminal could show */
                (void) setlocale(LC_CTYPE, "C.UTF-8");
        (void) setvbuf(stdout, NULL, c.style.terminal ? _IOFBF : _IOLBF, 0);
        surroundings_get(&c.surroundings);
        r = options_parse(argc, argv, &o, &error);
        if (r < 0)
                o.json = options_json_asked(argc, argv);
        if (o.json == JSON_MODE_AUTO)
                o.json = c.style.terminal ? JSON_MODE_PRETTY : JSON_MODE_SHORT;
        if (r < 0)
                return fail(&c, r == -ENOMEM ? CTL_FAILED : CTL_USAGE, "%s", error ?: strerror(-r));
        r = finish(&c, dispatch(&c));
        if (r == CTL_INTERRUPTED && c.signo > 0)
                end_by_signal(&c);
        return r;
}
