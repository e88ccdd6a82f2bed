// `make bench`: BENCH="fleet outage transport" selects, N= sets the number of deployments.
import { fetchRate } from "./fetch.ts";
import { fleet } from "./fleet.ts";
import { say } from "./figures.ts";
import { ledgerCost } from "./ledger.ts";
import { inspectCost } from "./inspect.ts";
import { verifyRate } from "./models.ts";
import { outage } from "./outage.ts";
import { sizing } from "./sizing.ts";
import { transport } from "./transport.ts";

const count = Number(process.env["N"] ?? "1000");
const benches: Readonly<Record<string, () => Promise<void>>> = {
  fleet: () => fleet({ count }),
  transport,
  sizing,
  inspect: inspectCost,
  fetch: fetchRate,
  models: verifyRate,
  ledger: () =>
    ledgerCost({
      hours: Number(process.env["HOURS"] ?? "72"),
      deployments: Number(process.env["DEPLOYMENTS"] ?? "100000"),
    }),
  outage: async () => {
    await outage(20);
    await outage(120);
  },
  "stock-limits": () => fleet({ count: Math.min(count, 300), idleSeconds: 1, stockLimits: true }),
};

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !(name in benches));
if (unknown.length > 0) {
  say(`no bench is called ${unknown.join(", ")}: choose among ${Object.keys(benches).join(", ")}`);
  process.exit(2);
}
for (const name of wanted.length > 0 ? wanted : Object.keys(benches)) await benches[name]?.();
process.exit(0);
