// What websocket_peer_test.py has Node's ws say to our server.
//
//     node websocket_peer.js URL

"use strict";

const assert = require("node:assert");
const { once } = require("node:events");
const { WebSocket } = require("ws");

const url = process.argv[2];
const MEBIBYTE = 1 << 20;

async function connect(options) {
  const ws = new WebSocket(url, "chat", options);
  await once(ws, "open");
  assert.strictEqual(ws.protocol, "chat");
  return ws;
}

async function echoes(ws, message) {
  const binary = typeof message !== "string";
  ws.send(message);
  const [data, isBinary] = await once(ws, "message");
  assert.strictEqual(isBinary, binary);
  assert.ok(data.equals(Buffer.from(message)));
}

async function closed(ws) {
  const [code, reason] = await once(ws, "close");
  return [code, reason.toString()];
}

async function messages(options) {
  const ws = await connect(options);
  assert.strictEqual(ws.extensions !== "", options.perMessageDeflate !== false);
  for (const size of [0, 1, 125, 126, 65535, 65536, 2 * MEBIBYTE]) {
    await echoes(ws, "rota ".repeat(size / 5 + 1).slice(0, size));
    await echoes(ws, Buffer.alloc(size, "x"));
  }
  await echoes(ws, "Grüße, 世界 🌍");

  for (const piece of ["one ", "two ", "three"])
    ws.send(piece, { fin: piece === "three" });
  const [data] = await once(ws, "message");
  assert.strictEqual(data.toString(), "one two three");

  ws.ping("are you there?");
  const [answer] = await once(ws, "pong");
  assert.strictEqual(answer.toString(), "are you there?");

  ws.close(3001, "enough");
  assert.strictEqual((await closed(ws))[0], 3001);
}

async function refusals() {
  let ws = await connect();
  ws.send("leave!");
  assert.deepStrictEqual(await closed(ws), [4321, "as you wish"]);

  ws = await connect();
  ws.send(Buffer.alloc(4 * MEBIBYTE));
  assert.strictEqual((await closed(ws))[0], 1009);

  ws = await connect();
  ws.send(Buffer.from([0xff]), { binary: false });
  assert.strictEqual((await closed(ws))[0], 1007);

  ws = await connect();
  ws.send("not masked", { mask: false });
  assert.strictEqual((await closed(ws))[0], 1002);
}

async function main() {
  await messages({ perMessageDeflate: false });
  await messages({ perMessageDeflate: { threshold: 0 } });
  await messages({ perMessageDeflate: { threshold: 0, serverNoContextTakeover: true, clientNoContextTakeover: true,
                                        serverMaxWindowBits: 10, clientMaxWindowBits: 10 } });
  await refusals();
}

main().catch(error => {
  console.error(error);
  process.exit(1);
});
