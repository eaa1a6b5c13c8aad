#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# protocol-man.sh LOWDOWN PROTOCOL.MD PAGE: tractor-protocol(7) from docs/protocol.md, so that there is one text.
#
# lowdown does the work; around it, the sections become those of a manual page, and two things become readable on a
# terminal: words are not broken nor lines filled up with blanks (names would be torn apart), and in tables the last
# column, which holds the prose, gets what the others leave, instead of an equal share.
set -eu

{
        printf '# NAME\ntractor-protocol - the wire protocol tractor/1, tree file, command line and journal\n\n# DESCRIPTION\n'
        # A list may follow its sentence without an empty line in between, but not for lowdown.
        awk 'NR == 1 { next }
                /^##/ { sub(/^#/, "") }
                /^- / && !listed && last != "" { print "" }
                { print; last = $0; listed = /^- / || (listed && last != "") }' "$2"
} | "$1" -s -Tman --out-no-smarty --nroff-nolinks --parse-no-intraemph \
        -M title=TRACTOR-PROTOCOL -M section=7 -M source=tractor |
        sed -e '/^\.TH/a .ad l\n.nh' -e 's/\\e|/|/g' -e 's/^tab(|) expand /tab(|) /' \
                -e '/^\.TS/,/^\.TE/s/^l l\.$/lw(20n) lx./' \
                -e '/^\.TS/,/^\.TE/s/^l l l\.$/lw(16n) lw(18n) lx./' \
                -e '/^\.TS/,/^\.TE/s/^l l l l\.$/lw(14n) lw(16n) lw(11n) lx./' \
                -e 's/^\.TS$/.sp\n.TS/' -e 's/^\.TE$/.TE\n.sp/' >"$3"
