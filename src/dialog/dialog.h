/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The rules of one conversation, at one of its two ends, and nothing else: no socket, no memory, no clock. A call
 * begins with a request and ends with exactly one response. Between the two a call asked with `ctx` is a dialog:
 * the callee says $/started once, then items flow either way, each costing one credit that its receiver gave,
 * until a side says $/stop for its own items. The opener may cancel; what the callee still sends before it has
 * heard of that is late, not wrong. A plain call is the same conversation without the middle.
 *
 * dialog_step() takes an event, which is either what this side wants to send or what the peer has sent, looks it up
 * in one table of role, state and event, and says what is to be done. The table is total. What the peer does wrong
 * is a verdict to be handled by the session; what our own side does wrong is a negative errno. Items have to be
 * queued and given out elsewhere: only their number is known here (their bytes: flight.h). What may turn out not to be
 * sendable is tried on a copy. */

#include "base/macro.h"

#define DIALOG_CREDIT_DEFAULT 64
#define DIALOG_CREDIT_MAX INT64_MAX

typedef enum DialogRole {
        DIALOG_OPENER,
        DIALOG_CALLEE,
        _DIALOG_ROLE_MAX,
        _DIALOG_ROLE_INVALID = -22,
} DialogRole;

typedef enum DialogState {
        DIALOG_OPENING,    /* asked, not yet started (all of a plain call's life) */
        DIALOG_OPEN,       /* started */
        DIALOG_CANCELLING, /* the opener wants no more; the response is due */
        DIALOG_ENDED,
        _DIALOG_STATE_MAX,
        _DIALOG_STATE_INVALID = -22,
} DialogState;

typedef enum DialogEvent {
        /* what this side wants */
        DIALOG_SEND_STARTED, /* n: credit given to the opener */
        DIALOG_SEND_NEXT,
        DIALOG_SEND_CREDIT, /* n more */
        DIALOG_SEND_STOP,
        DIALOG_SEND_CANCEL,
        DIALOG_SEND_RESULT,
        DIALOG_SEND_ERROR,
        /* what the peer sent */
        DIALOG_GOT_STARTED, /* n: credit given to us */
        DIALOG_GOT_NEXT,
        DIALOG_GOT_CREDIT, /* n more */
        DIALOG_GOT_STOP,
        DIALOG_GOT_CANCEL,
        DIALOG_GOT_RESULT,
        DIALOG_GOT_ERROR,
        /* what befell */
        DIALOG_LOST,    /* the connection has ended */
        DIALOG_EXPIRED, /* the time given to the callee after a cancel is over */
        _DIALOG_EVENT_MAX,
        _DIALOG_EVENT_INVALID = -22,
} DialogEvent;

typedef enum DialogVerdict {
        DIALOG_DO,    /* send it, or hand it on */
        DIALOG_DROP,  /* too late to matter: nothing is to be done */
        DIALOG_FAULT, /* the peer broke a rule: tell it (-32600); the dialog goes on */
        DIALOG_BREAK, /* the peer broke a rule on which the rest hangs: the dialog has ended here */
        _DIALOG_VERDICT_MAX,
        _DIALOG_VERDICT_INVALID = -22,
} DialogVerdict;

/* One direction's items. */
typedef struct DialogWindow {
        int64_t credit; /* items that may still be sent */
        bool stopped;
        int64_t size; /* the credit given at first */
} DialogWindow;

typedef struct Dialog {
        DialogRole role;
        DialogState state;
        bool plain;   /* asked without ctx */
        bool started; /* in either role */
        DialogWindow out, in;
} Dialog;

const char *dialog_state_to_string(DialogState state);
const char *dialog_event_to_string(DialogEvent event);
const char *dialog_verdict_to_string(DialogVerdict verdict);

/* `credit`: what the opener gives the callee; below zero: the default. */
void dialog_init(Dialog *d, DialogRole role, bool plain, int64_t credit);
/* A verdict, with *ret_why (a constant) on DIALOG_FAULT and DIALOG_BREAK. Negative when our side may not:
 * -EAGAIN (no credit), -EALREADY (said before), -EPIPE (over: cancelled, stopped or ended), -EPROTO (not by this
 * side, not in this state). */
int dialog_step(Dialog *d, DialogEvent event, int64_t n, const char **ret_why);
/* Whether it is worth crediting the peer: it may still send. */
bool dialog_takes_items(const Dialog *d);
