#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# check-catalog.sh SOURCE-ROOT: every id of tractor/messages.h has one entry in the catalog and the other way round, an
# entry names only fields that records have, and journalctl can read it.
set -eu

root=$1
header=$root/src/include/tractor/messages.h
catalog=$root/units/tractor.catalog
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

sed -n 's/^#define TRACTOR_MESSAGE_[A-Z_]* "\([0-9a-f]\{32\}\)"$/\1/p' "$header" | sort >"$tmp/header"
sed -n 's/^-- \([0-9a-f]\{32\}\)$/\1/p' "$catalog" | sort >"$tmp/catalog"
[ "$(wc -l <"$tmp/header")" = "$(grep -c '^#define TRACTOR_MESSAGE_' "$header")" ]
[ "$(wc -l <"$tmp/header")" -ge 14 ]
[ -z "$(uniq -d "$tmp/header")" ]
diff "$tmp/header" "$tmp/catalog"
[ "$(grep -c '^Subject: ' "$catalog")" = "$(wc -l <"$tmp/catalog")" ]

status=0
for field in $(grep -o '@[A-Z_]*@' "$catalog" | tr -d @ | sort -u); do
        if ! grep -q "\"$field\"\|$field=" "$root/src/supervisor/lifecycle-log.c" "$root/src/supervisor/journal.c"; then
                echo "$catalog: no record has a field $field" >&2
                status=1
        fi
done

if command -v journalctl >/dev/null; then
        mkdir -p "$tmp/usr/lib/systemd/catalog" "$tmp/var/lib/systemd/catalog"
        cp "$catalog" "$tmp/usr/lib/systemd/catalog/"
        # Mistakes are told, but are no error.
        [ -z "$(journalctl --root="$tmp" --update-catalog 2>&1)" ]
        [ -s "$tmp/var/lib/systemd/catalog/database" ]
fi
exit $status
