#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The actor of hello_shell.c: JSON-RPC by sed, a line in, a line out.
while read -r line; do
        id=$(printf '%s' "$line" | sed -n 's/.*"id": *\([0-9]*\).*/\1/p')
        name=$(printf '%s' "$line" | sed -n 's/.*"name": *"\([^"\\]*\)".*/\1/p')
        printf '{"jsonrpc":"2.0","id":%s,"result":"hello %s, this is process %d"}\n' "$id" "$name" $$
done
