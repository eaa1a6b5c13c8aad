/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The MESSAGE_IDs of tractor's journal records: an interface like any other, so an id is never changed nor used for
 * anything else. `journalctl MESSAGE_ID=…` finds one kind of event on a whole machine, `journalctl TRACTOR_PATH=/shop/api`
 * all events of one actor across its restarts, `journalctl -x` adds the explanations of tractor.catalog. */

/* An actor's program runs. */
#define TRACTOR_MESSAGE_STARTED "1fe7b9880da44ad68267d877864dc021"
/* An actor is ready, in the sense of its `ready` key. */
#define TRACTOR_MESSAGE_READY "761e1a2e61bf4e4dadf34fe7fb501222"
/* An actor ended as it may: with code 0. */
#define TRACTOR_MESSAGE_EXITED "3c5a2ef5bcf64fed8dae42365d9b99a4"
/* An actor ended abnormally: TRACTOR_CAUSE says how, TRACTOR_STDERR has its last words. */
#define TRACTOR_MESSAGE_CRASHED "d06178140df746ac824349efacd6f1a2"
/* An actor will be started again. */
#define TRACTOR_MESSAGE_RESTARTING "f04c418463f24af8805d212b156a9e3d"
/* A supervisor exceeded its restart intensity. */
#define TRACTOR_MESSAGE_GAVE_UP "d4ec88a3f5a84876a2566aca372e8736"
/* An actor was stopped on request. */
#define TRACTOR_MESSAGE_STOPPED "d80fe1cbc48c4974a1f243b6e11b850e"
/* An actor or a supervisor failed and stays so. */
#define TRACTOR_MESSAGE_FAILED "ded9aa8137f04cf49aef5d0e70ad6e07"
/* A tree was loaded and all of it is ready. */
#define TRACTOR_MESSAGE_TREE_LOADED "78aaf04078c44af58a1bdd47f1a7b577"
/* A tree was stopped and left. */
#define TRACTOR_MESSAGE_TREE_UNLOADED "954fa7f869ab4ca380de2af9c04e42dd"
/* A supervisor process serves. */
#define TRACTOR_MESSAGE_SUPERVISOR_STARTED "2ffa3c03e5f04ae1999b99d3d992638e"
/* A supervisor process ended unasked; its successor says so. */
#define TRACTOR_MESSAGE_SUPERVISOR_LOST "68b11e62fabf4c128bc20f9a9b7ab066"
/* The limits of a node were changed while it runs. */
#define TRACTOR_MESSAGE_LIMIT_CHANGED "01b4d113437f4d16997bf65c6ebb228e"
/* A request was refused: TRACTOR_RULE says by which rule, TRACTOR_PEER whom. */
#define TRACTOR_MESSAGE_REFUSED "851f9a5d60bb4c6889513bfcf9079caf"
/* The kernel killed processes of an actor for want of memory, but not its main process. */
#define TRACTOR_MESSAGE_OOM_KILL "22b1d51c428d4f309a4f69abfeb7a915"
/* Journal records were lost: TRACTOR_DROPPED says how many. */
#define TRACTOR_MESSAGE_RECORDS_DROPPED "feabdeb7f9704a6893717313068ed1d1"
