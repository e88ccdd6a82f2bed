// What `berth import` draws and writes while it works.
import assert from "node:assert/strict";
import { test } from "node:test";
import { lineOf, newBar, sizeText } from "../../operator/cli/importbar.ts";
import type { Listing } from "../../operator/plan/model/listing.ts";

const course = {
  bytes: 5e8,
  copiedBytes: 4e8,
  totalBytes: 2e9,
  files: 3,
  allFiles: 12,
  retries: 2,
  phase: "copying",
};

test("the bar tells share, sizes, rate and what is left", () => {
  const line = "[#######.....................] 25% 500 MB of 2.0 GB, 3/12 files, 100 MB/s, 15 s left, 2 tried again";
  assert.equal(lineOf(course, 4), line);
  assert.equal(lineOf({ ...course, totalBytes: 0, phase: "listing" }, 0), "listing");
  assert.deepEqual([0, 999, 1_000, 999_999, 1.5e12].map(sizeText), ["0 B", "999 B", "1.0 kB", "1.0 MB", "1.5 TB"]);
});

test("the bar counts what an earlier revision holds, also where that is all", () => {
  let [said, nowMs] = ["", 0];
  const { observer, end } = newBar((text) => (said += text), { terminal: undefined, now: () => nowMs });
  observer.listed({ sizeBytes: 2_000, files: [{}, {}] } as unknown as Listing);
  nowMs = 1;
  observer.reused(2, 2_000);
  end();
  assert.equal(said.split("\n")[1], "[############################] 100% 2.0 kB of 2.0 kB, 2/2 files, 0 B/s");
});

test("that a source will not say what it states is said once, on a line of its own", () => {
  let said = "";
  const { observer } = newBar((text) => (said += text), { terminal: { columns: 120 }, now: () => 0 });
  observer.listed({ sizeBytes: 2_000, files: [{}, {}] } as unknown as Listing);
  for (const path of ["a.safetensors", "b.safetensors"]) observer.unstated(path, "it says 400");
  assert.match(said, /\nwhat comes of a\.safetensors is compared with no checksum of the source's own: it says 400\n$/);
});

test("in a narrow window the bar is shorter, then files, bar, tries and rate go, and share and sizes stay", () => {
  const at = (columns: number): string => lineOf({ ...course, copiedBytes: 1e7 }, 4, columns);
  assert.deepEqual([120, 98, 79, 72, 60, 50, 36, 24, 10].map(at), [
    "[#######.....................] 25% 500 MB of 2.0 GB, 3/12 files, 2.5 MB/s, 10 min 0 s left, 2 tried again",
    "[#####...............] 25% 500 MB of 2.0 GB, 3/12 files, 2.5 MB/s, 10 min 0 s left, 2 tried again",
    "[###.........] 25% 500 MB of 2.0 GB, 2.5 MB/s, 10 min 0 s left, 2 tried again",
    "25% 500 MB of 2.0 GB, 2.5 MB/s, 10 min 0 s left, 2 tried again",
    "25% 500 MB of 2.0 GB, 2.5 MB/s, 10 min 0 s left",
    "25% 500 MB of 2.0 GB, 2.5 MB/s, 10 min 0 s left",
    "25% 500 MB of 2.0 GB",
    "25% 500 MB of 2.0 GB",
    "25% 500 MB",
  ]);
});

/** What a terminal shows that wraps as the plainest do: a row that is full goes on in the next one. */
function shown(text: string, columns: number): string[] {
  const rows = [""];
  for (const piece of text.split(/(\r|\n|\u001b\[2K)/)) {
    if (piece === "\n") rows.push("");
    else if (piece === "\u001b[2K") rows.splice(-1, 1, "");
    else if (piece !== "\r")
      for (const char of piece) {
        rows.push(`${rows.pop() ?? ""}${char}`);
        if (rows.at(-1)?.length === columns) rows.push("");
      }
  }
  return rows;
}

for (const columns of [120, 80, 60, 20])
  test(`in a window of ${String(columns)} columns one row is drawn over and nothing is left behind`, () => {
    let [said, nowMs] = ["", 0];
    const { observer, end } = newBar((text) => (said += text), { terminal: { columns }, now: () => nowMs });
    const sizeBytes = 1_312_345_678_901;
    observer.listed({ sizeBytes, files: Array.from({ length: 1_234 }) } as unknown as Listing);
    for (let done = 0; done < sizeBytes; done += sizeBytes / 97) {
      nowMs += 60_000;
      observer.bytes(sizeBytes / 97, true);
      observer.partRetried();
      assert.equal(shown(said, columns).length, 1, shown(said, columns).join("\n"));
    }
    end();
    assert.match(shown(said, columns)[0] ?? "", columns === 20 ? /^100% 1\.3 TB of 1\.3 $/ : /100% 1\.3 TB of 1\.3 TB/);
  });

test("a window that is made narrower in the middle has the next row fit", () => {
  const window = { columns: 120 };
  let said = "";
  const { observer } = newBar((text) => (said = text), { terminal: window, now: () => 0 });
  observer.listed({ sizeBytes: 2_000, files: [{}, {}] } as unknown as Listing);
  assert.ok(said.length > 60);
  Object.assign(window, { columns: 40 });
  observer.reused(1, 1_000);
  assert.equal(said, "\r\u001b[2K[####....] 50% 1.0 kB of 2.0 kB, 0 B/s");
});
