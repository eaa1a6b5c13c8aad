# SPDX-License-Identifier: Apache-2.0
# Never works, however often it is started.
echo "ledger: cannot open books.db: no such file" >&2
exit 3
