/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* How long to wait before a failed call is tried again. Pure: chance is given. */

#include "tractor/retry.h"

/* After `n` failures (1: the first). */
uint64_t retry_delay(const tractor_retry_policy *p, unsigned n, uint64_t random);

/* A key under which a control request is done once, however often it is sent: 128 random bits in hex. -EIO where a filter forbids the
 * program to draw random numbers. */
#define RETRY_KEY_SIZE 33
int retry_draw_key(char key[RETRY_KEY_SIZE]);
