#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Starts a program under the supervisor, kills it, and sees it come back."""
import tractor

TREE = {"tractor": 1, "name": "from-python", "children": [{"name": "sleeper", "exec": ["sleep", "1000"]}]}

with tractor.Client() as client:
    path = client.load(TREE) + "/sleeper"
    before = client.tree(path)["pid"]
    with client.events(path) as events:
        client.kill(path, "KILL")
        for event in events:
            if event["event"] == "exited":
                print("ended:", tractor.Exit.from_object(event["exit"]))
            if event["event"] == "state" and event["to"] == "ready":
                break
    print("runs again:", client.tree(path)["pid"] != before)
    try:
        client.spawn("/from-python", "broken", ["/no/such/program"], restart="temporary")
    except tractor.SpawnFailed as error:
        print("as expected:", error)
    client.unload("/from-python")
