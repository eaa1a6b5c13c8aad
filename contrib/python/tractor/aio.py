# SPDX-License-Identifier: Apache-2.0
"""The client for asyncio: what `tractor` has, with `await`.

    async with tractor.aio.Client() as client:
        await client.ping()
        async with await client.events("/shop") as events:
            async for event in events:
                print(event["path"], event["event"])"""

from .aio_client import Client
from .aio_connection import Connection, Portal, Stream

__all__ = ["Client", "Connection", "Portal", "Stream"]
