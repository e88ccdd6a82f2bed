/** `berth ledger sinks …` over a ledger whose sink delivers to a real receiver process. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { pathToFileURL } from "node:url";

import { ledgerCommand } from "../../operator/cli/ledger.ts";
import { canonicalBytes } from "../../operator/plan/metering/canonical.ts";
import { quarantinePrefix, replayPrefix } from "../../operator/plan/sinks/keys.ts";
import { eventually } from "../cluster/eventually.ts";
import { receiver } from "../controllers/sinkbed.ts";
import { idOf, sealHour, sealed, sinkOn } from "../controllers/sinkrig.ts";

const bad = [idOf("d13"), idOf("d20", 11)];

/** Three hours of 25 records; two of them are refused for ever. */
async function delivered(t: TestContext) {
  const there = await receiver(t);
  const { ledger, folder } = await sealed(t, 12);
  await there.behave({ refuse: bad });
  const { sink } = sinkOn(ledger, { type: "cloudevents", url: there.url });
  assert.equal(await sink.pass(), 3);
  const berth = async (...args: string[]) => {
    let [code, out, err] = [-1, "", ""];
    const io = { env: {}, write: (text: string) => void (out += text), complain: (text: string) => void (err += text) };
    const place = ["--ledger-url", pathToFileURL(join(folder, "ledger")).href];
    const command = ledgerCommand(io, (ended) => (code = ended));
    await command.parseAsync(["sinks", ...args, ...place], { from: "user" });
    return { code, out, err };
  };
  return { there, ledger, sink, berth };
}

test("list: how far each sink has come, in words and as JSON", async (t) => {
  const { ledger, sink, berth } = await delivered(t);
  await sealHour(ledger, 13);
  const state = {
    sink: "billing",
    newestTaken: "2026-11-21T12:00:00Z",
    owed: 1,
    oldestOwed: "2026-11-21T13:00:00Z",
    quarantined: 2,
    replaysWaiting: 0,
    requests: [],
  };
  assert.deepEqual(JSON.parse((await berth("list", "-o", "json")).out), [state]);
  assert.match((await berth("list")).out, /^SINK .*\nbilling +2026-11-21T12:00:00Z +1 +2026-11-21T13:00:00Z +2 +0\n$/);
  await sink.pass();
  const caughtUp = { ...state, newestTaken: "2026-11-21T13:00:00Z", owed: 0, oldestOwed: undefined };
  assert.deepEqual(JSON.parse((await berth("list", "-o", "json")).out), [JSON.parse(JSON.stringify(caughtUp))]);
});

test("replay: the same ids from an hour on, once; what counts an id once counts nothing twice", async (t) => {
  const { there, ledger, sink, berth } = await delivered(t);
  const before = (await there.seen()).requests.length;
  const asked = await berth("replay", "--sink", "billing", "--from", "2026-11-21T11:00:00Z");
  assert.deepEqual([asked.code, asked.err], [0, ""]);
  assert.match(
    asked.out,
    /^sinks\/billing\/replay\/[-0-9a-f]{36}\.json: 2 windows will be sent again by the operator\n$/,
  );
  assert.match((await berth("list")).out, / 1\n$/, "one replay waits");
  assert.equal(await sink.pass(), 2);
  assert.equal(await sink.pass(), 0, "a replay runs once");
  const { kept, requests } = await there.seen();
  assert.equal(kept.length, 73);
  const again = requests.slice(before).flatMap(({ ids }) => ids);
  assert.deepEqual(new Set(again).size, 50, "every record of both hours, and no other");
  assert.ok(again.includes(idOf("d00", 12)) && !again.includes(idOf("d00", 10)));
  assert.match((await berth("list")).out, / 0\n$/);
  const waiting = await berth("replay", "--sink", "billing", "--from", "2026-11-21T12:00:00Z", "--wait", "1");
  assert.equal(waiting.code, 1, "nobody sends it in this time");
  await sink.pass();
  assert.equal((await ledger.list("sinks/billing/replayed/")).length, 2);
});

test("quarantine: who and why, and a retry sends exactly those; what is refused again stays", async (t) => {
  const { there, ledger, sink, berth } = await delivered(t);
  const listed = await berth("quarantine", "--sink", "billing");
  const about = "2026-11-21T10:00:00Z team/d13 l4-1 account team: 400 unknown meter for this event";
  assert.equal(listed.out.split("\n")[0], `${bad[0]} ${about}`);
  const json = JSON.parse((await berth("quarantine", "--sink", "billing", "-o", "json")).out) as { recordId: string }[];
  assert.deepEqual(
    json.map(({ recordId }) => recordId),
    bad,
  );
  await there.behave({ refuse: [bad[1]] });
  const before = (await there.seen()).requests.length;
  const asked = await berth("quarantine", "--sink", "billing", "--retry", "-o", "json");
  assert.deepEqual([asked.code, (JSON.parse(asked.out) as { records: number }).records], [0, 2]);
  await sink.pass();
  const { kept, requests } = await there.seen();
  assert.deepEqual(
    requests.slice(before).map(({ ids }) => ids),
    bad.map((id) => [id]),
    "nothing that was taken before is sent again",
  );
  assert.deepEqual([kept.length, new Map(kept).get(bad[0] ?? "")], [74, 1]);
  assert.deepEqual(await ledger.list(quarantinePrefix("billing")), [`${quarantinePrefix("billing")}${bad[1]}.json`]);
  await there.behave({});
  await berth("quarantine", "--sink", "billing", "--retry");
  // A new process, to which no record was ever refused.
  await sinkOn(ledger, { type: "cloudevents", url: there.url }).sink.pass();
  assert.equal((await there.seen()).kept.length, 75);
  assert.equal((await berth("quarantine", "--sink", "billing")).out, "nothing is in quarantine\n");
});

test("a retry that every record is refused in ends all the same, and delivery goes on", async (t) => {
  const { there, ledger, berth } = await delivered(t);
  await berth("quarantine", "--sink", "billing", "--retry");
  await sealHour(ledger, 13);
  const { sink } = sinkOn(ledger, { type: "cloudevents", url: there.url });
  assert.equal(await sink.pass(), 3, "the new window, and the two that something was tried again of");
  assert.equal((await ledger.list(quarantinePrefix("billing"))).length, 2);
  assert.equal(await sink.pass(), 0);
});

test("refused, and nothing is written: an unknown sink, a range without windows, nothing in quarantine", async (t) => {
  const { there, ledger, sink, berth } = await delivered(t);
  const cases: readonly (readonly [string[], RegExp])[] = [
    [["replay", "--sink", "meter", "--from", "2026-11-21"], /no sink meter .*\(known: billing\); nothing was written/],
    [["replay", "--sink", "billing", "--from", "2026-11-22"], /no window is sealed in this range/],
    [
      ["replay", "--sink", "billing", "--from", "2026-11-21", "--to", "2026-11-20"],
      /no window is sealed in this range/,
    ],
  ];
  for (const [args, words] of cases) {
    const { code, err } = await berth(...args);
    assert.deepEqual([code, words.test(err)], [4, true], err);
  }
  assert.deepEqual(await ledger.list(replayPrefix("billing")), []);
  await there.behave({});
  await berth("quarantine", "--sink", "billing", "--retry");
  await sink.pass();
  assert.equal((await berth("quarantine", "--sink", "billing", "--retry")).code, 4);
});

test("release: the named record alone is sent again, under its id and from its place; the other stays, and nothing is doubled", async (t) => {
  const { there, ledger, sink, berth } = await delivered(t);
  const [wanted = "", other = ""] = bad;
  await there.behave({});
  const before = (await there.seen()).requests.length;
  const asked = await berth("release", "--sink", "billing", "--record", wanted, "-o", "json");
  assert.deepEqual([asked.code, (JSON.parse(asked.out) as { records: number }).records], [0, 1]);
  assert.equal(await sink.pass(), 1);
  const { kept, requests } = await there.seen();
  assert.deepEqual(
    requests.slice(before).map(({ ids }) => ids),
    [[wanted]],
  );
  assert.deepEqual([kept.length, new Map(kept).get(wanted)], [74, 1]);
  const events = requests.flatMap(({ body }) => JSON.parse(body) as { id: string; sequence: string }[]);
  const sequences = new Map(events.map(({ id, sequence }) => [id, sequence]));
  const place = ["d12", "d13", "d14"].map((name) => sequences.get(idOf(name)) ?? "");
  assert.deepEqual(place, [...new Set(place)].sort());
  assert.deepEqual(await ledger.list(quarantinePrefix("billing")), [`${quarantinePrefix("billing")}${other}.json`]);
  const again = await berth("release", "--sink", "billing", "--record", wanted);
  assert.deepEqual([again.code, /not in quarantine.*nothing was written/.test(again.err)], [4, true]);
});

test("withdraw: a request that waits is not sent, one that fails for ever ends, one that is done is refused", async (t) => {
  const { there, ledger, sink, berth } = await delivered(t);
  const ask = async (...args: string[]) =>
    (JSON.parse((await berth(...args, "--sink", "billing", "-o", "json")).out) as { request: string }).request;
  const withdraw = (...keys: string[]) => berth("withdraw", "--sink", "billing", "--request", ...keys);
  await there.behave({});
  const retry = await ask("quarantine", "--retry");
  const replay = await ask("replay", "--from", "2026-11-21");
  const before = (await there.seen()).requests.length;
  assert.deepEqual(await withdraw(retry, replay), {
    code: 0,
    out: `${retry}: is withdrawn\n${replay}: is withdrawn\n`,
    err: "",
  });
  assert.equal(await sink.pass(), 0);
  assert.equal((await there.seen()).requests.length, before, "nothing was sent");
  assert.equal((await ledger.list(quarantinePrefix("billing"))).length, 2, "what was set aside stays");
  const failing = await ask("replay", "--from", "2026-11-21T12:00:00Z");
  await ledger.remove("v1/dt=2026-11-21/hr=12/segment-r0.ndjson.gz");
  await sink.pass();
  const [state] = JSON.parse((await berth("list", "-o", "json")).out) as { requests: string[] }[];
  assert.deepEqual(state?.requests, [failing]);
  assert.equal((await withdraw(failing)).code, 0);
  assert.match((await berth("list")).out, / 0\n$/);
  const gone = await withdraw(failing);
  assert.deepEqual([gone.code, /no such request waits/.test(gone.err)], [4, true]);
});

test("whoever waits for a request that another withdraws is told, and does not take it for done", async (t) => {
  const { ledger, berth } = await delivered(t);
  const waits = berth("quarantine", "--sink", "billing", "--retry", "--wait", "60");
  const key = await eventually(async () => (await ledger.list(replayPrefix("billing")))[0], { what: "the request" });
  await berth("withdraw", "--sink", "billing", "--request", key);
  const { code, out } = await waits;
  assert.deepEqual([code, /are not sent \(any more\): somebody has withdrawn/.test(out)], [1, true]);
});

test("a request that was written wrong by hand is left alone and holds up nothing", async (t) => {
  const { there, ledger, sink, berth } = await delivered(t);
  await ledger.putOnce(`${replayPrefix("billing")}0-none.json`, Buffer.from("{"));
  await ledger.putOnce(`${replayPrefix("billing")}1-other.json`, canonicalBytes({ from: "yesterday" }));
  await there.behave({});
  await berth("replay", "--sink", "billing", "--from", "2026-11-21T12:00:00Z");
  assert.equal(await sink.pass(), 1);
});

test("a receiver's words cannot steer a terminal", async (t) => {
  const { ledger, berth } = await delivered(t);
  const words = { schema: "berth.dev/sink-quarantine.v1", sink: "billing", recordId: "x", manifest: "v1/gone" };
  const stored = canonicalBytes({ ...words, reason: "400 \u001b[2Jgone" });
  await ledger.putOnce(`${quarantinePrefix("billing")}x.json`, stored);
  const { out } = await berth("quarantine", "--sink", "billing");
  assert.match(out, /^x v1\/gone \(its window is gone\): 400 \?\[2Jgone$/m);
});
