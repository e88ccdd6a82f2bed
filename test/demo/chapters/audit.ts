// A month of hours, sealed and checked from outside: the chain holds, a damaged line is named, a bill's basis is drawn.
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { gunzipSync, gzipSync } from "node:zlib";
import { berthProgram } from "../../chart/rendered.ts";
import { run } from "../../cluster/cluster.ts";
import { withBoard } from "../board.ts";
import type { Chapter } from "../chapter.ts";
import { month, sealMonth } from "../month.ts";
import type { SealedMonth } from "../month.ts";
import type { Screen } from "../screen.ts";

async function berth(...args: string[]): Promise<{ code: number; lines: string[] }> {
  const env = { NODE_OPTIONS: "--disable-warning=ExperimentalWarning" };
  const { code, stdout, stderr } = await run(process.execPath, [...berthProgram(), ...args], { env });
  return { code: code ?? 1, lines: `${stdout}${stderr}`.trimEnd().split("\n") };
}

/** Adds a second to one hour of a copy, as somebody would who wants to bill it. */
function damage({ folder }: SealedMonth): { readonly url: string; readonly was: string; readonly is: string } {
  const copy = `${folder}-damaged`;
  cpSync(folder, copy, { recursive: true });
  const file = join(copy, "v1", `dt=${month.from.slice(0, 8)}17`, "hr=10", "segment-r0.ndjson.gz");
  const text = gunzipSync(readFileSync(file)).toString();
  const was = /"billableNodeSeconds":(\d+)/.exec(text)?.[1] ?? "";
  const is = String(Number(was) + 3600);
  writeFileSync(file, gzipSync(text.replace(`"billableNodeSeconds":${was}`, `"billableNodeSeconds":${is}`)));
  return { url: pathToFileURL(copy).href, was, is };
}

export const audit: Chapter = {
  name: "audit",
  title: "A month in the ledger, checked without Berth",
  needs: [],
  run: async ({ screen, cluster }) => {
    // Thousands of small synced files: in memory they are there in seconds.
    const root = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : cluster.runDir, "berth-month-"));
    try {
      await tell(screen, root);
    } finally {
      rmSync(root, { recursive: true, force: true });
    }
  },
};

async function tell(screen: Screen, root: string): Promise<void> {
  screen.say(
    "Hours take hours, so a month is made up: sizes and nodes of two deployments. The operator's own code seals it now, " +
      "hour by hour, under a key made for it.",
  );
  const sealed = await withBoard(screen.board(), (board) =>
    board.during("seal", async (row) => {
      const done = await sealMonth(root);
      row.say(`${String(done.windows)} hours, signed and chained, each written once`);
      return done;
    }),
  );
  screen.command("berth ledger verify --ledger-url file:///…/month --trust operator.pub");
  const intact = await berth("ledger", "verify", "--ledger-url", sealed.url, "--trust", sealed.publicKeyFile);
  if (intact.code !== 0) throw new Error(`the month does not verify: ${intact.lines.join(" ")}`);
  screen.output(intact.lines.filter((line) => !line.startsWith("head ")).join("\n"));
  const { url, was, is } = damage(sealed);
  screen.say(`In a copy, one hour of the 17th is edited: ${was} billable seconds become ${is}.`);
  screen.command("berth ledger verify --ledger-url file:///…/month-damaged");
  const found = await berth("ledger", "verify", "--ledger-url", url);
  if (found.code !== 3) throw new Error(`the damage was not found: ${found.lines.join(" ")}`);
  for (const line of found.lines.filter((one) => one.startsWith("v1/"))) screen.refusal(line);
  screen.say(
    "What is billed is drawn from the ledger itself; with a server's address, the same for what you may read:",
  );
  const asked = ["usage", "--ledger-url", sealed.url, "--from", month.from, "--to", month.to, "-o", "chart"];
  screen.command(`berth usage --ledger-url file:///…/month \\\n    --from ${month.from} --to ${month.to} -o chart`);
  const chart = await berth(...asked);
  if (chart.code !== 0) throw new Error(`there is no chart: ${chart.lines.join(" ")}`);
  screen.output(chart.lines.join("\n"));
}
