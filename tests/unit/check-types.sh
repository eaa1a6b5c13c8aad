#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# check-types.sh SOURCE-ROOT: the Python package says that it is typed: it is, strictly.

if ! command -v mypy >/dev/null; then
        echo 'skipped: no mypy' >&2
        [ "${TRACTOR_TEST_STRICT-}" = 1 ] && exit 1
        exit 77
fi
exec mypy --strict --cache-dir=/dev/null --python-version=3.11 "$1/contrib/python/tractor"
