import assert from "node:assert/strict";
import { test } from "node:test";

globalThis.innerWidth = 1440;
const { state } = await import("../js/state.js");
const { sentence } = await import("../js/states.js");

test("while ports are not judged, the page does not say that every port is declared", () => {
  const said = (totals, rows = []) => { Object.assign(state, { agents: [], chart: { totals, rows, missing: [] } }); return sentence("empty"); };
  assert.equal(said({}), "Every open port is declared.");
  assert.equal(said({ unjudged: 3 }), "Nothing found.");
  assert.equal(said({}, [{ fingerprint: "a", declaration: "undeclared" }]), "Nothing found.");
});
