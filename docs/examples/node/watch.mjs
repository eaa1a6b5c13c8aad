// SPDX-License-Identifier: Apache-2.0
// Starts a program under the supervisor, kills it, and sees it come back: with json-rpc-2.0 from npm, which knows
// nothing of tractor, over a UNIX socket.
import net from "node:net";
import readline from "node:readline";
import { JSONRPCClient, JSONRPCServer, JSONRPCServerAndClient } from "json-rpc-2.0";

const socket = net.connect(process.env.TRACTOR_SOCKET ?? "/run/tractor/control.sock");
let last = -1; // who connects numbers 1, 3, 5 …
const peer = new JSONRPCServerAndClient(
  new JSONRPCServer(),
  new JSONRPCClient((message) => void socket.write(JSON.stringify(message) + "\n"), () => (last += 2)),
);
readline.createInterface({ input: socket }).on("line", (line) => void peer.receiveAndSend(JSON.parse(line)));
socket.on("close", () => peer.rejectAllPendingRequests("the supervisor closed the connection"));

// A plain call needs nothing else:
await peer.request("supervisor.ping");
await peer.request("tree.load", {
  tree: { tractor: 1, name: "from-node", children: [{ name: "sleeper", exec: ["sleep", "1000"] }] },
});

// A stream of events is a dialog: a hello first, the request with "$", then the items as notifications.
const path = "/from-node/sleeper";
const greeted = new Promise((resolve) => peer.addMethod("$/hello", resolve));
peer.notify("$/hello", { protocol: "tractor/1", name: "watch.mjs", pid: process.pid });
await greeted;
const id = (last += 2);
const started = new Promise((resolve) => peer.addMethod("$/started", resolve));
const ready = new Promise((resolve) =>
  peer.addMethod("$/next", ({ value }) => {
    peer.notify("$/credit", { id, n: 1 });
    if (value.event === "exited") console.log("ended:", value.exit.signal);
    if (value.event === "state" && value.to === "ready") resolve();
  }),
);
const subscription = peer.requestAdvanced({
  jsonrpc: "2.0", id, method: "events.subscribe", params: { path }, $: { ctx: true, credit: 64 },
});
await started;

await peer.request("actor.kill", { path, signal: "KILL" });
await ready;
console.log("runs again:", (await peer.request("tree.get", { path })).state);
peer.notify("$/cancel", { id });
console.log("the subscription ended:", (await subscription).error.data.type);
await peer.request("tree.unload", { path: "/from-node" });
socket.end();
