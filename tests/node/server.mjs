// SPDX-License-Identifier: Apache-2.0
// A stock JSON-RPC peer on newline-delimited stdin and stdout, that also asks and tells of its own accord. It knows nothing of
// who starts it.
import readline from "node:readline";
import { JSONRPCClient, JSONRPCServer, JSONRPCServerAndClient } from "json-rpc-2.0";

const say = (message) => process.stdout.write(JSON.stringify(message) + "\n");
const peer = new JSONRPCServerAndClient(new JSONRPCServer(), new JSONRPCClient(say));

peer.addMethod("add", ({ a, b }) => a + b);
let release;
peer.addMethod("hold", ({ value }) => new Promise((done) => (release = () => done(value))));
peer.addMethod("release", () => (release(), "released"));
peer.addMethod("fail", () => {
  throw new Error("as asked");
});
peer.addMethod("greet", async () => {
  const name = await peer.request("name", { of: "you" });
  peer.notify("greeted", { name });
  return `hello ${name}`;
});

const lines = readline.createInterface({ input: process.stdin, crlfDelay: Infinity });
for await (const line of lines) {
  if (line) peer.receiveAndSend(JSON.parse(line));
}
