import assert from "node:assert/strict";
import { after, test } from "node:test";

/** One lock for all tabs: the first gets it, the others wait until `grant` gives it to the next, as when a tab closes. */
const queued = [];
let held = false;
const locks = { request: (name, options, lead) => new Promise(() => { if (held) queued.push(lead); else { held = true; lead(); } }) };
Object.defineProperty(globalThis, "navigator", { value: { locks }, configurable: true });
const grant = (lead) => queued[lead]();

const { setInterval: every, setTimeout: later } = globalThis;
globalThis.setInterval = (...given) => every(...given).unref();
globalThis.setTimeout = (does, time, ...given) => (time > 10_000 ? later(does, time, ...given).unref() : later(does, time, ...given));
const channels = [], Channel = globalThis.BroadcastChannel;
globalThis.BroadcastChannel = class extends Channel { constructor(name) { super(name); channels.push(this); } };
after(() => { for (const channel of channels) channel.close(); });

const streams = [];
let asked = () => {};
globalThis.fetch = async (path, { headers }) => {
  const stream = { headers };
  streams.push(stream);
  const answer = new Response(new ReadableStream({ start(to) { stream.events = to; } }));
  asked();
  return answer;
};
const { shared } = await import("../js/tabs.js");

/** A tab: how often it was told that the stream is open, and what it heard. */
function tab() {
  const made = { opened: 0, heard: [], wake: () => {} };
  shared("/v1/watch", { open: () => { made.opened += 1; made.wake(); }, lost: () => {}, event: (name, data) => { made.heard.push(data); made.wake(); } });
  return made;
}
const until = (one, isSo) => new Promise((done) => { one.wake = () => { if (isSo()) done(); }; one.wake(); });

test("a tab that comes later reads for itself, makes no other read again, and knows where to resume", async () => {
  const first = tab();
  await until(first, () => first.opened === 1);
  const second = tab();
  await until(second, () => second.opened === 1);
  streams[0].events.enqueue(new TextEncoder().encode("id: 7\nevent: Finding\ndata: x\n\n"));
  await until(second, () => second.heard.length === 1);
  const third = tab();
  await until(third, () => third.opened === 1);
  assert.deepEqual([first.opened, second.opened, third.opened], [1, 1, 1]);
  assert.equal(streams.length, 1);
  const reconnected = new Promise((done) => { asked = done; });
  grant(1);
  await reconnected;
  assert.equal(streams[1].headers["last-event-id"], "7");
});
