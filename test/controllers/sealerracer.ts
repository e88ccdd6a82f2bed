// A sealer in a process of its own: seals the ledger whose URL it is told, at once, and says when it is done.
import { openLedger } from "../../operator/adapters/ledger/open.ts";
import { sealerAt } from "./sealerrig.ts";

process.on("message", (url: string) => {
  const ledger = openLedger({ url });
  sealerAt({ ledger, at: "12:06:00", shards: 3 })
    .sealer.pass()
    .then(
      () => process.send?.({ done: true }),
      (error: unknown) => process.send?.({ done: false, error: String(error) }),
    );
});
process.on("disconnect", () => process.exit(0));
