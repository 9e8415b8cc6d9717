import assert from "node:assert/strict";
import { test } from "node:test";

import { follow, reader } from "../js/stream.js";
import { StandIn } from "./stand_in.mjs";

/** All events of texts that arrive in these parts. */
function read(...parts) {
  const events = [], take = reader((name, data, id) => events.push([name, data, id]));
  for (const part of parts) take(part);
  return events;
}

test("an event is told with its name, data and id", () => {
  assert.deepEqual(read("id: 7\nevent: Finding\ndata: {\"a\":1}\n\n"), [["Finding", "{\"a\":1}", "7"]]);
});

test("an event that arrives in pieces is one event", () => {
  assert.deepEqual(read("id: 7\nev", "ent: Finding\nda", "ta: x\n", "\n"), [["Finding", "x", "7"]]);
});

test("an id without data is told without a name, and comments are not told", () => {
  assert.deepEqual(read("retry: 1000\n\n: alive\nid: 9\n\n"), [["", "", "9"]]);
});

test("several lines of data are joined, and ends of lines may be CRLF", () => {
  assert.deepEqual(read("data: a\r\ndata: b\r\n\r\n"), [["message", "a\nb", undefined]]);
});

test("an event without end is refused and not kept for ever", () => {
  const take = reader(() => {});
  assert.throws(() => { for (let i = 0; i < 20; i += 1) take("x".repeat(1 << 20)); }, /too long/u);
});

test("after a cut the stream resumes after the last event, and nothing is told twice", async () => {
  const host = new StandIn("few"), server = await host.listen(0), told = [], opened = [];
  let lastId = "", heard = () => {};
  const next = () => new Promise((done) => { heard = done; });
  const stream = follow(`http://127.0.0.1:${server.address().port}/v1/watch?kind=Finding`, {
    lastId: () => lastId, open: () => { opened.push(lastId); heard(); }, lost: () => {},
    event: (name, data, id) => { if (id) lastId = id; if (name === "Finding") { told.push(JSON.parse(data).n); heard(); } },
  });
  await next();
  for (const n of [1, 2]) { const came = next(); host.tell("Finding", { n }); await came; }
  const back = next();
  for (const one of host.streams) one.response.destroy();
  for (const n of [3, 4]) host.tell("Finding", { n });
  await back;
  while (told.length < 4) await next();
  stream.stop();
  server.closeAllConnections();
  server.close();
  assert.deepEqual(told, [1, 2, 3, 4]);
  assert.equal(opened.length, 2);
});
